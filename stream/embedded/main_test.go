//go:build unix

package embedded

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The tests that crash a broker run it in a child process: this binary again, with these variables.
const (
	childDir  = "EMBEDDED_TEST_DIR"
	childAddr = "EMBEDDED_TEST_ADDR"
	childStep = "EMBEDDED_TEST_KILL_AT" // the step of compaction at which the child kills itself
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		runChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// runChild serves until it is told to stop or is killed.
func runChild(dir string) {
	cfg := testConfig(dir)
	if os.Getenv(childStep) != "" {
		cfg = compactingConfig(dir)
	}
	if addr := os.Getenv(childAddr); addr != "" {
		cfg.Addr = addr
	}
	cfg.compactionStep = func(step string) {
		if step == os.Getenv(childStep) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	b, err := Start(context.Background(), cfg)
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Fprintln(os.Stdout, "addr", b.Addr())
	<-stop
	if err := b.Close(); err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
}

type child struct {
	cmd  *exec.Cmd
	addr string
}

// startChild starts a broker in a process of its own and returns when it serves, or, with killAt,
// when it is dead.
func startChild(t *testing.T, dir, killAt string, env ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childDir+"="+dir, childStep+"="+killAt), env...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	c := &child{cmd: cmd}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		if word == "addr" {
			c.addr = rest
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			return c
		}
		t.Log(lines.Text())
	}
	err = cmd.Wait()
	if killAt == "" {
		t.Fatalf("the child did not start: %v", err)
	}
	require.ErrorContains(t, err, "killed")
	return c
}

// stop ends the child with the signal and waits.
func (c *child) stop(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(sig))
	err := c.cmd.Wait()
	if sig == syscall.SIGKILL {
		require.ErrorContains(t, err, "killed")
	} else {
		require.NoError(t, err)
	}
}
