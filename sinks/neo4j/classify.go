package neo4j

import (
	"context"
	"errors"
	"fmt"
	"strings"

	driver "github.com/neo4j/neo4j-go-driver/v5/neo4j"

	"github.com/slipstream-rec/slipstream/fault"
)

// classify gives err, as a call under ctx returned it, its class, and adds what a person can do
// where the engine does not say it.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.As(fault.Canceled, err)
	}
	// The driver gave up trying again: what it met last decides. Its error has no Unwrap.
	var limit *driver.TransactionExecutionLimit
	if errors.As(err, &limit) {
		if len(limit.Errors) == 0 {
			return fault.As(fault.Transient, err)
		}
		return fault.As(fault.ClassOf(classify(ctx, limit.Errors[len(limit.Errors)-1])), err)
	}
	var connectivity *driver.ConnectivityError
	if errors.As(err, &connectivity) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.As(fault.Transient, err)
	}
	var server *driver.Neo4jError
	if errors.As(err, &server) {
		return classifyServer(err, server)
	}
	if strings.Contains(err.Error(), noHandshake) {
		return fault.As(
			fault.Transient,
			fmt.Errorf("%w (is the server still starting, and is this its Bolt port?)", err),
		)
	}
	return fault.As(fault.Unknown, err)
}

// noHandshake is the driver's error, which has no type of its own, for a connection that ended
// before the server had said which version it speaks: a server that starts or stops, a proxy
// without a server, or another port.
const noHandshake = "did not accept any of the requested Bolt versions"

func classifyServer(err error, server *driver.Neo4jError) error {
	// This renames codes of older servers, so it comes before reading Code.
	retriable := server.IsRetriable()
	code := server.Code
	switch {
	case retriable:
		// Deadlocks, elections, memory pressure, a database that is starting.
		return fault.As(fault.Transient, err)
	case strings.HasPrefix(code, "Neo.ClientError.Security."):
		return fault.As(
			fault.Transient,
			fmt.Errorf("%w (check the neo4j username, password and the user's rights)", err),
		)
	case code == "Neo.ClientError.Database.DatabaseNotFound":
		return fault.As(
			fault.Transient,
			fmt.Errorf("%w (create the database, or correct the configured name)", err),
		)
	case strings.HasPrefix(code, "Neo.ClientError.Transaction."):
		// Timed out, terminated by an operator or by a shutdown, a bookmark of a restored database.
		return fault.As(fault.Transient, err)
	case code == "Neo.ClientError.Statement.EntityNotFound":
		// Another transaction deleted what this one had found; the next try does not find it.
		return fault.As(fault.Transient, err)
	case code == "Neo.ClientError.Schema.ConstraintValidationFailed":
		// Either a race of an erasure with a new edge, which goes away, or a graph that others
		// write to, which does not.
		return fault.As(fault.Unknown, err)
	case code == "Neo.ClientError.Statement.SyntaxError":
		return fault.As(
			fault.Transient,
			fmt.Errorf("%w (the server is too old: Neo4j 5.23 or later is needed)", err),
		)
	case strings.HasPrefix(code, "Neo.DatabaseError."):
		// The server is failing: disk, store files, a failed start. The statement is the same for
		// every event.
		return fault.As(fault.Transient, err)
	case strings.HasPrefix(code, "Neo.ClientError."):
		return fault.As(fault.Permanent, err)
	}
	return fault.As(fault.Unknown, err)
}
