package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"

	"github.com/slipstream-rec/slipstream/producers/client"
	"github.com/slipstream-rec/slipstream/producers/gateway"
	"github.com/slipstream-rec/slipstream/schemas"
)

// server stands for a running Slipstream.
func server() *httptest.Server {
	v, err := schemas.NewValidator(schemas.DefaultActions())
	if err != nil {
		panic(err)
	}
	g, err := gateway.New(&log{}, v, gateway.DefaultConfig(), nil)
	if err != nil {
		panic(err)
	}
	return httptest.NewServer(g.Handler())
}

func Example() {
	slipstream := server()
	defer slipstream.Close()
	ctx := context.Background()

	c, err := client.New(
		client.HTTP(slipstream.URL, client.HTTPOptions{Client: slipstream.Client()}),
		client.Config{Source: "shop"},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	stars := 4.5
	err = c.Send(ctx,
		&schemas.Interaction{UserID: "u42", ItemID: "m7", Action: schemas.Rate, Value: &stars},
		&schemas.Friendship{UserID: "u42", FriendID: "u7"},
	)
	fmt.Println("the log has both:", err == nil)
	fmt.Println("closed:", c.Close(ctx) == nil)
	// Output:
	// the log has both: true
	// closed: true
}

func ExampleSendError() {
	slipstream := server()
	defer slipstream.Close()
	ctx := context.Background()
	c, err := client.New(
		client.HTTP(slipstream.URL, client.HTTPOptions{Client: slipstream.Client()}),
		client.Config{Source: "shop"},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close(ctx) }()

	err = c.Send(ctx,
		&schemas.Interaction{EventID: "a", UserID: "u42", ItemID: "m7", Action: schemas.View},
		&schemas.Interaction{EventID: "b", UserID: "u42", ItemID: "m7", Action: schemas.Rate},
	)
	var failed *client.SendError
	if errors.As(err, &failed) {
		for _, f := range failed.Failed {
			fmt.Printf(
				"event %s (index %d), send again later: %t\n%v\n", f.ID, f.Index, f.Temporary,
				f.Err,
			)
		}
	}
	// Output:
	// event b (index 1), send again later: false
	// "value" is missing
}
