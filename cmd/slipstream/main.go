// Command slipstream is the whole of Slipstream: the processors, the API, the embedded engines and
// the tools of an operator.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/slipstream-rec/slipstream/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root := newRoot(os.Stdout, os.Stderr)
	err := root.ExecuteContext(withLogger(ctx, slog.SetDefault))
	stop()
	if err = fault.IgnoreCanceled(err); err != nil {
		if _, ok := slog.Default().Handler().(*slog.JSONHandler); ok {
			slog.Error("failed", "error", err) // a machine reads this
		} else {
			fmt.Fprintln(os.Stderr, "slipstream:", err)
		}
		os.Exit(1)
	}
}
