package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// verdict is what became of a mutant.
type verdict int

const (
	survived verdict = iota
	killed
	timedOut
)

func (v verdict) String() string { return [...]string{"SURVIVED", "killed", "timed out"}[v] }

// testBinary is the compiled tests of a package, and the folder that they run in.
type testBinary struct{ path, dir string }

// grace is how long after its own time limit a test process is ended from outside.
const grace = 10 * time.Second

// test runs the tests with a mutant alive, by its number from 1, or with none (0), until one fails.
func test(
	ctx context.Context, binaries []testBinary, number int, limit time.Duration,
) (verdict, []byte, error) {
	var output bytes.Buffer
	for _, b := range binaries {
		output.Reset()
		bounded, stop := context.WithTimeout(ctx, limit+grace)
		cmd := exec.CommandContext(bounded, b.path,
			"-test.failfast", "-test.timeout", limit.String())
		cmd.Dir = b.dir
		cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(number))
		cmd.Stdout, cmd.Stderr = &output, &output
		cmd.WaitDelay = grace
		err := cmd.Run()
		late := bounded.Err() != nil
		stop()
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
		v, err := judge(err, late, output.Bytes())
		if err != nil || v != survived {
			return v, output.Bytes(), err
		}
	}
	return survived, output.Bytes(), nil
}

// judge says what an end of the tests means.
func judge(err error, late bool, output []byte) (verdict, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return survived, nil
	case late || bytes.Contains(output, []byte("panic: test timed out after")):
		return timedOut, nil
	case !errors.As(err, &exit):
		return 0, fmt.Errorf("run the tests: %w", err)
	case regexp.MustCompile(`(?m)^(FAIL|panic: |fatal error: )`).Match(output):
		return killed, nil
	default:
		return 0, fmt.Errorf("run the tests: %w\n%s", err, output)
	}
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
	for line := range strings.Lines(string(output)) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return "  by a " + strings.TrimSpace(line)
		}
	}
	return ""
}
