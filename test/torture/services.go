//go:build linux

package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The engines, by the names that the services script knows.
const (
	engineKafka      = "kafka"
	engineNeo4j      = "neo4j"
	engineClickHouse = "clickhouse"
	engineQdrant     = "qdrant"
)

// names are those of the processes of an engine.
func (s *services) names(engine string) []string {
	if engine == engineKafka {
		return s.brokers
	}
	return []string{engine}
}

func allEngines() []string {
	return []string{engineKafka, engineNeo4j, engineClickHouse, engineQdrant}
}

// services is a set of real engines of our own, each behind a proxy that can refuse, slow down and
// cut connections. Kafka's brokers advertise their proxies to whoever comes through one, and their
// plain addresses to whoever does not.
type services struct {
	script string
	env    []string
	// brokers are the names of Kafka's brokers: kafka, or kafka1 to kafka3.
	brokers []string
	// extra are settings of an engine that the others must not have.
	extra map[string][]string
	// direct and proxied are the addresses.
	direct, proxied map[string]string
	proxies         map[string]*toxiproxy.Proxy
	logs            io.Writer
}

const neo4jPassword = "slipstream-torture"

// startServices starts the engines in a folder of their own and returns when they serve. brokers is
// 1 or 3.
func startServices(
	ctx context.Context, script, dir string, brokers int, logs io.Writer,
) (*services, error) {
	p, err := freePorts(9)
	if err != nil {
		return nil, err
	}
	port := func(i int) string { return strconv.Itoa(p[i]) }
	s := &services{
		script: script, logs: logs, proxies: make(map[string]*toxiproxy.Proxy),
		extra: make(map[string][]string),
		direct: map[string]string{
			engineNeo4j: local(p[0]), engineClickHouse: local(p[2]), engineQdrant: local(p[4]),
		},
		proxied: map[string]string{
			engineNeo4j: local(p[6]), engineClickHouse: local(p[7]), engineQdrant: local(p[8]),
		},
	}
	s.env = append(
		os.Environ(),
		"SERVICES_DATA="+filepath.Join(dir, "engines"),
		"SERVICES_JVM_FLAGS=-XX:TieredStopAtLevel=1",
		"SERVICES_START_TIMEOUT=900", // the machine may have other work
		"NEO4J_BOLT_PORT="+port(0),
		"NEO4J_HTTP_PORT="+port(1),
		"NEO4J_HEAP=512m",
		"NEO4J_PAGECACHE=64m",
		"NEO4J_PASSWORD="+neo4jPassword,
		"CLICKHOUSE_TCP_PORT="+port(2),
		"CLICKHOUSE_HTTP_PORT="+port(3),
		"QDRANT_GRPC_PORT="+port(4),
		"QDRANT_HTTP_PORT="+port(5),
	)
	upstream := maps.Clone(s.direct)
	if brokers == 1 {
		err = s.oneBroker(upstream)
	} else {
		err = s.cluster(upstream)
	}
	if err != nil {
		return nil, err
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for name, listen := range s.proxied {
		s.proxies[name] = toxiproxy.NewProxy(server, name, listen, upstream[name])
		if err := s.proxies[name].Start(); err != nil {
			return nil, fmt.Errorf("proxy of %s: %w", name, err)
		}
	}
	if err := s.up(ctx); err != nil {
		_ = s.wipe()
		return nil, err
	}
	return s, nil
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// oneBroker adds a single broker. upstream gets the address behind its proxy.
func (s *services) oneBroker(upstream map[string]string) error {
	p, err := freePorts(4)
	if err != nil {
		return err
	}
	s.brokers = []string{engineKafka}
	s.env = append(
		s.env, "KAFKA_PORT="+strconv.Itoa(p[0]), "KAFKA_CONTROLLER_PORT="+strconv.Itoa(p[1]),
		"KAFKA_HEAP=512m",
	)
	s.broker(engineKafka, p[0], p[1], p[2], p[3])
	upstream[engineKafka] = local(p[2])
	return nil
}

// clusterPorts is the distance between the ports of two brokers of a cluster, as the services
// script has it; a controller's is in the middle.
const clusterPorts = 10

// cluster adds three brokers, each a controller too.
func (s *services) cluster(upstream map[string]string) error {
	p, err := freePorts(6)
	if err != nil {
		return err
	}
	base, err := freeCluster()
	if err != nil {
		return err
	}
	s.env = append(s.env, "KAFKA_CLUSTER_PORT="+strconv.Itoa(base), "KAFKA_HEAP=320m")
	for n := range 3 {
		name := fmt.Sprintf("%s%d", engineKafka, n+1)
		port := base + n*clusterPorts
		s.brokers = append(s.brokers, name)
		s.broker(name, port, port+clusterPorts/2, p[n], p[3+n])
		upstream[name] = local(p[n])
	}
	return nil
}

// broker sets what one broker listens on: its port for whoever comes directly, inner behind the
// proxy.
func (s *services) broker(name string, port, controller, inner, proxy int) {
	s.direct[name], s.proxied[name] = local(port), local(proxy)
	s.extra[name] = []string{"KAFKA_EXTRA_PROPERTIES=" + strings.Join([]string{
		"listeners=PLAINTEXT://" + local(port) + ",PROXIED://" + local(inner) +
			",CONTROLLER://" + local(controller),
		"advertised.listeners=PLAINTEXT://" + local(port) + ",PROXIED://" + local(proxy),
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT," +
			"CONTROLLER:PLAINTEXT",
	}, "\n")}
}

// up starts all engines at once: a broker of a cluster serves when a second one does.
func (s *services) up(ctx context.Context) error {
	names := append([]string{engineNeo4j, engineClickHouse, engineQdrant}, s.brokers...)
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = s.verb(ctx, "up", name) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return awaitBrokers(ctx, s.kafka(s.direct))
}

// awaitBrokers waits until every broker of a cluster is known: topics cannot have more copies than
// there are brokers.
func awaitBrokers(ctx context.Context, brokers []string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{}
		res, err := req.RequestWith(ctx, c)
		if err == nil && len(res.Brokers) == len(brokers) {
			return nil
		}
		if !wait(ctx, 200*time.Millisecond) {
			return fmt.Errorf("wait for %d brokers: %w", len(brokers), errors.Join(err, ctx.Err()))
		}
	}
}

// kafka returns the addresses of the brokers: their proxies', or their own.
func (s *services) kafka(of map[string]string) []string {
	var out []string
	for _, name := range s.brokers {
		out = append(out, of[name])
	}
	return out
}

// freeCluster returns the first port of a cluster whose others are free as well.
func freeCluster() (int, error) {
	for range 1000 {
		base := 20_000 + rand.IntN(11_000)
		free := true
		for n := range 2 * 3 {
			free = free && isFree(base+n*clusterPorts/2)
		}
		if free {
			return base, nil
		}
	}
	return 0, errors.New("found no free ports for a cluster")
}

func isFree(port int) bool {
	var listen net.ListenConfig
	l, err := listen.Listen(context.Background(), "tcp", local(port))
	if err == nil {
		_ = l.Close()
	}
	return err == nil
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
	cmd.Env = s.env
	if len(args) > 1 {
		cmd.Env = append(slices.Clone(s.env), s.extra[args[1]]...)
	}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, s.logs), io.MultiWriter(&out, s.logs)
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
