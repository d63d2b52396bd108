package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/config"
	"github.com/slipstream-rec/slipstream/internal/apptest"
	"github.com/slipstream-rec/slipstream/schemas"
)

// asProgram is set in the environment of a child that is to be the program: this binary again.
const asProgram = "SLIPSTREAM_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		_ = os.Unsetenv(asProgram) // it is no setting
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a command of slipstream in a process of its own.
func program(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	return cmd
}

// TestDevRefusesItemFactorsOfAnotherModel: a start that cannot succeed says why and ends.
func TestDevRefusesItemFactorsOfAnotherModel(t *testing.T) {
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, func(c *config.Config) {
		c.Topics.Partitions, c.Model.Dim = 4, 64
	})
	for i := range 3 {
		path := fmt.Sprintf("/v1/items/film-%d", i)
		code, body := in.Call(t, http.MethodPut, path, map[string]any{"title": "A film"})
		require.Less(t, code, 300, string(body))
	}
	apptest.Eventually(t, 30*time.Second, func() error {
		if len(in.Latest(t, schemas.TopicItemVectors)) < 3 {
			return errors.New("not all items have vectors")
		}
		return nil
	})
	stop()

	for _, args := range [][]string{
		{"dev"},
		{"dev", "--only", "api"},
		{"dev", "--only", "graph,analytics"},
		{"rebuild", "--store", "embedded"},
	} {
		args = append(args, "--data", dir)
		if args[0] == "dev" {
			args = append(args, "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0")
		}
		requireRefusedDim(t, args)
	}
}

func requireRefusedDim(t *testing.T, args []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	begin := time.Now()
	var out bytes.Buffer
	env := []string{"SLIPSTREAM_MODEL_DIM=32", "SLIPSTREAM_TOPICS_PARTITIONS=4"}
	cmd := program(ctx, env, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	took := time.Since(begin)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, out.String())
	require.Equal(t, 1, exit.ExitCode(), out.String())
	require.Contains(t, out.String(), "the data has vectors of 64 numbers, model.dim is 32: "+
		"set SLIPSTREAM_MODEL_DIM=64, or take another folder or topic prefix")
	require.NotContains(t, out.String(), "rebuild the", "a rebuild does not change model.dim")
	require.Less(t, took, 5*time.Second, out.String())
}
