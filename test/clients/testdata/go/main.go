// Command uses sends events and reads lists with the client that oapi-codegen has made.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"example.com/uses/slipstream"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("go: ok")
}

func run(ctx context.Context) error {
	key := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "bearer "+os.Getenv("SLIPSTREAM_KEY"))
		return nil
	}
	address := os.Getenv("SLIPSTREAM")
	client, err := slipstream.NewClientWithResponses(
		address, slipstream.WithRequestEditorFn(key),
	)
	if err != nil {
		return err
	}
	item, err := client.PutItemWithResponse(
		ctx, "film-go", nil, slipstream.PutItemJSONRequestBody{Title: "The Quiet Promise"},
	)
	if err != nil || item.JSON202 == nil {
		return fmt.Errorf("put an item: %w, %s", err, item.Body)
	}
	var body slipstream.EmitJSONRequestBody
	var event slipstream.Event
	if err := event.FromInteractionRecordedV1(slipstream.InteractionRecordedV1{
		UserId: "ann", ItemId: "film-go", Action: slipstream.Like,
	}); err != nil {
		return err
	}
	if err := body.FromEvent(event); err != nil {
		return err
	}
	sent, err := client.EmitWithResponse(ctx, body)
	if err != nil || sent.JSON202 == nil || sent.JSON202.Accepted != 1 {
		return fmt.Errorf("emit: %w, %s", err, sent.Body)
	}
	list, err := client.RecommendWithResponse(ctx, "ann", &slipstream.RecommendParams{})
	if err != nil || list.JSON200 == nil || list.JSON200.UserId != "ann" {
		return fmt.Errorf("recommend: %w, %s", err, list.Body)
	}
	stranger, err := slipstream.NewClientWithResponses(address)
	if err != nil {
		return err
	}
	refused, err := stranger.TrendingWithResponse(ctx, nil)
	if err != nil || refused.StatusCode() != http.StatusUnauthorized {
		return fmt.Errorf("without a key: %w, %s", err, refused.Body)
	}
	return nil
}
