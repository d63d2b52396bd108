package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// verdict is what became of a mutant.
type verdict int

const (
	survived verdict = iota
	killed
	timedOut
	notCompiled
)

func (v verdict) String() string {
	return [...]string{"SURVIVED", "killed", "timed out", "no build"}[v]
}

// tester runs the tests of packages.
type tester struct {
	dir      string
	packages []string
	timeout  time.Duration
}

// test runs the tests with a mutant in place of its file, or with the code as it is.
func (t tester) test(ctx context.Context, m *mutant) (verdict, []byte, error) {
	args := []string{"test", "-count=1", "-vet=off", "-failfast", "-timeout", t.timeout.String()}
	if m != nil {
		dir, err := os.MkdirTemp("", "mutant")
		if err != nil {
			return 0, nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		overlay, err := m.overlay(dir)
		if err != nil {
			return 0, nil, err
		}
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.packages...)...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "GOTRACEBACK=none")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if ctx.Err() != nil {
		return 0, nil, ctx.Err()
	}
	v, err := judge(err, output.Bytes())
	return v, output.Bytes(), err
}

// judge says what an end of the go command means.
func judge(err error, output []byte) (verdict, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return survived, nil
	case !errors.As(err, &exit):
		return 0, fmt.Errorf("go test: %w", err)
	case bytes.Contains(output, []byte("[build failed]")), bytes.Contains(output, []byte("[setup failed]")):
		return notCompiled, nil
	case bytes.Contains(output, []byte("panic: test timed out after")):
		return timedOut, nil
	case bytes.Contains(output, []byte("FAIL")):
		return killed, nil
	default:
		return 0, fmt.Errorf("go test: %w\n%s", err, output)
	}
}

// overlay writes the mutant and the file that tells the go command of it, and returns the latter.
func (m *mutant) overlay(dir string) (string, error) {
	changed := filepath.Join(dir, filepath.Base(m.file.path))
	if err := os.WriteFile(changed, m.source(), 0o600); err != nil {
		return "", err
	}
	v, err := json.Marshal(map[string]map[string]string{"Replace": {m.file.path: changed}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, v, 0o600)
}

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// killer names the first test that failed.
func killer(v verdict, output []byte) string {
	if v != killed {
		return ""
	}
	if found := failedTest.FindSubmatch(output); found != nil {
		return "  by " + string(found[1])
	}
	if line, _, _ := strings.Cut(string(output), "\n"); strings.HasPrefix(line, "panic: ") {
		return "  by a " + line
	}
	return ""
}
