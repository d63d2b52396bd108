// Command slipstream is the whole of Slipstream: the processors, the API, the embedded engines and
// the tools of an operator.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/slipstream-rec/slipstream/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot(os.Stdout, os.Stderr).ExecuteContext(ctx)
	stop()
	if err = fault.IgnoreCanceled(err); err != nil {
		fmt.Fprintln(os.Stderr, "slipstream:", err)
		os.Exit(1)
	}
}
