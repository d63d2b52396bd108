package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
)

// engines are the real ones, where they are.
type engines struct {
	brokers []string
	// stores is true when Qdrant, Neo4j and ClickHouse are named too.
	stores bool
	pids   map[string]int
}

// findEngines takes the addresses from the environment, or from the script SLIPSTREAM_SERVICES
// after starting the engines with it.
func findEngines(ctx context.Context) engines {
	if script := os.Getenv("SLIPSTREAM_SERVICES"); script != "" &&
		os.Getenv("KAFKA_BROKERS") == "" {
		if err := startServices(ctx, script); err != nil {
			fmt.Fprintln(os.Stderr, "bench: no real engines:", err)
		}
	}
	e := engines{pids: make(map[string]int)}
	if b := os.Getenv("KAFKA_BROKERS"); b != "" {
		e.brokers = strings.Split(b, ",")
		e.pids["kafka"] = listener(port(e.brokers[0]))
	}
	e.stores = len(e.brokers) > 0
	for name, v := range map[string]string{
		"qdrant": "QDRANT_ADDR", "neo4j": "NEO4J_URI", "clickhouse": "CLICKHOUSE_ADDR",
	} {
		addr := os.Getenv(v)
		e.stores = e.stores && addr != ""
		e.pids[name] = listener(port(addr))
	}
	return e
}

func port(addr string) string {
	if u, err := url.Parse(addr); err == nil && u.Host != "" {
		addr = u.Host
	}
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func startServices(ctx context.Context, script string) error {
	if err := command(ctx, "", script, "up"); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, script, "env").Output()
	if err != nil {
		return fmt.Errorf("%s env: %w", script, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		name, value, ok := strings.Cut(
			strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export "), "=",
		)
		if ok && os.Getenv(name) == "" {
			if err := os.Setenv(name, strings.Trim(value, `'"`)); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// engineNames in the order of the tables.
var engineNames = []string{"kafka", "qdrant", "neo4j", "clickhouse"}

// cpu returns the CPU seconds of each engine that runs on this machine.
func (e engines) cpu() map[string]float64 {
	out := make(map[string]float64)
	for name, pid := range e.pids {
		if pid > 0 {
			out[name] = cpuOf(pid)
		}
	}
	return out
}
