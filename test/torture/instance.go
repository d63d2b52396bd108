//go:build linux

package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// instance is one process of the program, with whatever supervises it: an instance that ends
// although it should run is started again.
type instance struct {
	name, http string
	binary     string
	args, env  []string
	logs       io.Writer
	events     func(what string)

	mu     sync.Mutex
	cmd    *exec.Cmd
	done   chan struct{} // closed when cmd has ended
	wanted bool
	killed bool // the end of cmd is our doing
	frozen bool
	served bool // it has been ready since its start

	starts, crashes, failedStarts atomic.Int64
	maxRSS                        atomic.Int64 // bytes
}

func newInstance(
	dir, name, binary, addr string,
	args, env []string,
	events func(string),
) (*instance, error) {
	f, err := os.OpenFile(
		filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600,
	)
	if err != nil {
		return nil, err
	}
	return &instance{
		name: name, http: addr, binary: binary, args: args, env: env, logs: f, events: events,
	}, nil
}

// run supervises until ctx ends; then the process is killed if it still runs.
func (x *instance) run(ctx context.Context) {
	defer x.kill()
	for {
		if x.should() && !x.running() {
			if err := x.start(); err != nil {
				x.events(fmt.Sprintf("%s does not start: %v", x.name, err))
			}
		}
		select {
		case <-ctx.Done():
			x.mu.Lock()
			x.wanted = false
			x.mu.Unlock()
			return
		case <-time.After(300 * time.Millisecond):
		}
		x.measure()
		x.noteReady(ctx)
	}
}

// noteReady asks a young process whether it serves.
func (x *instance) noteReady(ctx context.Context) {
	x.mu.Lock()
	ask, asked := x.cmd != nil && !x.served && !x.frozen, x.cmd
	x.mu.Unlock()
	if ask && x.ready(ctx) {
		x.mu.Lock()
		x.served = x.served || x.cmd == asked
		x.mu.Unlock()
	}
}

func (x *instance) should() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.wanted
}

func (x *instance) want(yes bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wanted = yes
}

// use makes the next start run another program. The process must have ended.
func (x *instance) use(binary string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.binary = binary
}

// replace kills the process, and has another program started in its place.
func (x *instance) replace(binary string) {
	x.want(false)
	x.kill()
	x.use(binary)
	x.want(true)
}

func (x *instance) running() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cmd != nil
}

// start starts the process. It dies with us: Linux kills it when the thread that started it ends,
// so that thread waits for it.
func (x *instance) start() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	cmd := exec.CommandContext(context.Background(), x.binary, x.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = x.env, x.logs, x.logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done, started := make(chan struct{}), make(chan error, 1)
	fmt.Fprintf(x.logs, "--- %s start\n", time.Now().UTC().Format(time.RFC3339Nano))
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		x.ended(err)
		close(done)
	}()
	if err := <-started; err != nil {
		return err
	}
	x.cmd, x.done, x.killed, x.frozen, x.served = cmd, done, false, false, false
	x.starts.Add(1)
	return nil
}

// ended notes the end of the process. One that ends by itself before it has served could not reach
// an engine: its supervisor tries again.
func (x *instance) ended(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	fmt.Fprintf(x.logs, "--- %s end: %v\n", time.Now().UTC().Format(time.RFC3339Nano), err)
	x.cmd = nil
	if x.killed {
		return
	}
	if !x.served {
		x.failedStarts.Add(1)
	} else {
		x.crashes.Add(1)
		x.events(fmt.Sprintf("%s ended by itself: %v", x.name, err))
	}
}

func (x *instance) signal(sig syscall.Signal) (<-chan struct{}, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cmd == nil {
		return nil, errors.New("not running")
	}
	switch sig {
	case syscall.SIGKILL, syscall.SIGTERM:
		x.killed = true
	case syscall.SIGSTOP:
		x.frozen = true
	case syscall.SIGCONT:
		x.frozen = false
	}
	return x.done, x.cmd.Process.Signal(sig)
}

// kill is kill -9, and waits for the end.
func (x *instance) kill() {
	if done, err := x.signal(syscall.SIGKILL); err == nil {
		<-done
	}
}

// stop asks the process to stop and returns how long it took. One that takes longer than the limit
// is killed, which is an error.
func (x *instance) stop(limit time.Duration) (time.Duration, error) {
	begin := time.Now()
	done, err := x.signal(syscall.SIGTERM)
	if err != nil {
		return 0, err
	}
	select {
	case <-done:
		return time.Since(begin), nil
	case <-time.After(limit):
		x.kill()
		return limit, fmt.Errorf("%s did not stop within %s", x.name, limit)
	}
}

// ready tells whether the instance's API says so.
func (x *instance) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+x.http+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (x *instance) waitReady(ctx context.Context) error {
	for !x.ready(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", x.name, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// measure keeps the highest memory seen.
func (x *instance) measure() {
	if rss := x.rss(); rss > x.maxRSS.Load() {
		x.maxRSS.Store(rss)
	}
}

func (x *instance) rss() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cmd == nil {
		return 0
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", x.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}
