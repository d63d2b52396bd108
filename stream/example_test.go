package stream_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/stream"
	"github.com/slipstream-rec/slipstream/stream/admin"
	"github.com/slipstream-rec/slipstream/stream/deadletter"
	"github.com/slipstream-rec/slipstream/stream/embedded"
	"github.com/slipstream-rec/slipstream/stream/guard"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// A handler behind the guard, on a broker in the process: one record is bad, its neighbours go on,
// and the bad one is found among the dead letters.
func ExampleRouter() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	check(err)
	defer os.RemoveAll(dir)
	cfg := embedded.DefaultConfig(dir)
	cfg.Addr = "127.0.0.1:0"
	broker, err := embedded.Start(ctx, cfg)
	check(err)
	defer broker.Close()
	conn, err := stream.Open(ctx, stream.DefaultConfig(broker.Addr()))
	check(err)
	defer conn.Close()
	check(
		admin.EnsureTopics(
			ctx,
			conn,
			[]admin.TopicSpec{
				{Name: "numbers", Partitions: 1}, {Name: record.PoisonTopic("sum"), Partitions: 1},
			},
		),
	)
	publisher, err := stream.NewPublisher(conn, stream.DefaultPublisherConfig())
	check(err)
	defer publisher.Close()
	for _, n := range []string{"1", "two", "3"} {
		check(
			publisher.Emit(
				ctx,
				[]record.Record{
					{
						Topic:     "numbers",
						Partition: record.AnyPartition,
						Key:       []byte("k"),
						Value:     []byte(n),
					},
				},
			),
		)
	}

	subscriber, err := stream.NewSubscriber(conn, stream.DefaultSubscriberConfig("sum"))
	check(err)
	quiet := guard.DefaultRouterConfig()
	quiet.Log = slog.New(slog.DiscardHandler)
	router, err := guard.NewRouter(quiet)
	check(err)
	sum, all := 0, make(chan struct{})
	check(router.Handle(guard.Options{
		Name: "sum", Group: "sum", Topics: []string{"numbers"}, Subscriber: subscriber,
		Emitter: publisher,
		Handler: func(_ context.Context, b *record.Batch) error {
			var bad fault.Reject
			for i, r := range b.Records {
				var n int
				if _, err := fmt.Sscan(string(r.Value), &n); err != nil {
					bad.Add(i, fault.Permanentf("%q is not a number", r.Value))
				}
				sum += n
			}
			if b.Last == 2 {
				close(all)
			}
			return bad.Err()
		},
	}))
	go func() {
		<-all
		check(router.Close())
	}()
	check(router.Run(ctx))

	fmt.Println("sum", sum)
	letters, err := deadletter.New(conn, publisher, conn.Names(), []string{"sum"}, nil).List(
		ctx, deadletter.Filter{Since: time.Now().Add(-time.Hour)},
	)
	check(err)
	for _, l := range letters {
		fmt.Println(l.Origin, l.Class, l.Reason, l.State)
	}
	// Output:
	// sum 4
	// numbers/0@1 permanent "two" is not a number open
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
