package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"
)

// Rates of the samplers that cost something while they run: one sample per millisecond of blocking.
const blockRate = int(time.Millisecond)

// profiled lets a command write profiles of its whole run into a folder, for `go tool pprof`: cpu,
// allocs and block.
func profiled(cmd *cobra.Command) {
	var dir string
	cmd.Flags().StringVar(
		&dir, "profile", "",
		"write the profiles cpu.prof, allocs.prof and block.prof into this folder when it ends",
	)
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if dir == "" {
			return run(cmd, args)
		}
		stop, err := startProfiles(dir)
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		return errors.Join(run(cmd, args), stop())
	}
}

// startProfiles begins to sample; stop writes what was sampled.
func startProfiles(dir string) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cpu, err := os.Create(filepath.Join(dir, "cpu.prof"))
	if err != nil {
		return nil, err
	}
	runtime.SetBlockProfileRate(blockRate)
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(cpu.Close(), writeProfile(dir, "allocs"), writeProfile(dir, "block"))
	}, nil
}

func writeProfile(dir, name string) error {
	f, err := os.Create(filepath.Join(dir, name+".prof"))
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup(name).WriteTo(f, 0), f.Close())
}
