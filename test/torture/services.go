//go:build linux

package torture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// The engines, by the names that the services script knows.
const (
	engineKafka      = "kafka"
	engineNeo4j      = "neo4j"
	engineClickHouse = "clickhouse"
	engineQdrant     = "qdrant"
)

func allEngines() []string {
	return []string{
		engineKafka, engineNeo4j, engineClickHouse, engineQdrant,
	}
}

// services is a set of real engines of our own, each behind a proxy that can refuse, slow down and
// cut connections. Kafka advertises its proxy to whoever comes through it, and its plain address to
// whoever does not.
type services struct {
	script string
	env    []string
	// direct and proxied are the addresses.
	direct, proxied map[string]string
	proxies         map[string]*toxiproxy.Proxy
	logs            io.Writer
}

const neo4jPassword = "slipstream-torture"

// startServices starts the engines in a folder of their own and returns when they serve.
func startServices(ctx context.Context, script, dir string, logs io.Writer) (*services, error) {
	p, err := freePorts(13)
	if err != nil {
		return nil, err
	}
	port := func(i int) string { return strconv.Itoa(p[i]) }
	addr := func(i int) string { return "127.0.0.1:" + port(i) }
	s := &services{
		script: script, logs: logs, proxies: make(map[string]*toxiproxy.Proxy),
		direct: map[string]string{
			engineKafka: addr(0), engineNeo4j: addr(3), engineClickHouse: addr(5),
			engineQdrant: addr(7),
		},
		proxied: map[string]string{
			engineKafka: addr(9), engineNeo4j: addr(10), engineClickHouse: addr(11),
			engineQdrant: addr(12),
		},
	}
	inner := addr(2) // Kafka's listener behind the proxy
	s.env = append(
		os.Environ(),
		"SERVICES_DATA="+filepath.Join(dir, "engines"),
		"SERVICES_JVM_FLAGS=-XX:TieredStopAtLevel=1",
		"KAFKA_PORT="+port(0),
		"KAFKA_CONTROLLER_PORT="+port(1),
		"KAFKA_HEAP=512m",
		"NEO4J_BOLT_PORT="+port(
			3,
		),
		"NEO4J_HTTP_PORT="+port(4),
		"NEO4J_HEAP=512m",
		"NEO4J_PAGECACHE=64m",
		"NEO4J_PASSWORD="+neo4jPassword,
		"CLICKHOUSE_TCP_PORT="+port(
			5,
		),
		"CLICKHOUSE_HTTP_PORT="+port(6),
		"QDRANT_GRPC_PORT="+port(7),
		"QDRANT_HTTP_PORT="+port(8),
		"KAFKA_EXTRA_PROPERTIES=listeners=PLAINTEXT://"+addr(
			0,
		)+",PROXIED://"+inner+",CONTROLLER://"+addr(
			1,
		)+
			"\nadvertised.listeners=PLAINTEXT://"+addr(
			0,
		)+",PROXIED://"+addr(
			9,
		)+
			"\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,"+
			"CONTROLLER:PLAINTEXT",
	)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for name, listen := range s.proxied {
		upstream := s.direct[name]
		if name == engineKafka {
			upstream = inner
		}
		s.proxies[name] = toxiproxy.NewProxy(server, name, listen, upstream)
		if err := s.proxies[name].Start(); err != nil {
			return nil, fmt.Errorf("proxy of %s: %w", name, err)
		}
	}
	if err := s.verb(ctx, "up"); err != nil {
		_ = s.wipe()
		return nil, err
	}
	return s, nil
}

// freePorts returns n free ports below the range that outgoing connections are given: a port must
// stay free while its engine is down.
func freePorts(n int) ([]int, error) {
	var listen net.ListenConfig
	var ports []int
	for range 1000 {
		p := 20_000 + rand.IntN(11_000)
		l, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil {
			continue
		}
		defer l.Close()
		if ports = append(ports, p); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("found %d of %d free ports", len(ports), n)
}

// verb runs the services script.
func (s *services) verb(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.script, args...)
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, io.MultiWriter(
		&out,
		s.logs,
	), io.MultiWriter(
		&out,
		s.logs,
	)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf(
			"%s %s: %w: %s", filepath.Base(s.script), strings.Join(args, " "), err,
			strings.TrimSpace(out.String()),
		)
	}
	return nil
}

// wipe stops the engines and deletes their data.
func (s *services) wipe() error {
	for _, p := range s.proxies {
		p.Stop()
	}
	return s.verb(context.Background(), "wipe")
}

// toxic puts a toxic into an engine's connections, in both directions, and returns how to take it
// out again. The name must be free.
func (s *services) toxic(engine, name, kind, attributes string) (remove func(), err error) {
	p := s.proxies[engine]
	var names []string
	for _, direction := range []string{"upstream", "downstream"} {
		name := name + "_" + direction
		_, err := p.Toxics.AddToxicJson(
			strings.NewReader(
				fmt.Sprintf(
					`{"name":%q,"type":%q,"stream":%q,"toxicity":1,"attributes":{%s}}`, name, kind,
					direction, attributes,
				),
			),
		)
		if err != nil {
			return nil, fmt.Errorf("toxic %s of %s: %w", kind, engine, err)
		}
		names = append(names, name)
	}
	return func() {
		for _, n := range names {
			_ = p.Toxics.RemoveToxic(context.Background(), n)
		}
	}, nil
}

// refuse makes an engine refuse connections, and cuts those that are open.
func (s *services) refuse(engine string) (accept func() error) {
	s.proxies[engine].Stop()
	return s.proxies[engine].Start
}
