package clickhouse

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"

	"github.com/slipstream-rec/slipstream/fault"
)

// classify gives err its class. ctx is the caller's: only its cancellation means that we are
// stopping; a deadline of ours means that the server is slow.
func classify(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.As(fault.Canceled, err)
	}
	var (
		server    *ch.Exception
		block     *proto.BlockError
		converter *column.ColumnConverterError
		op        *ch.OpError
		network   net.Error
	)
	switch {
	case errors.As(err, &server):
		return classifyServer(server, err)
	case errors.As(err, &block), errors.As(err, &converter):
		return fault.As(fault.Permanent, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, driver.ErrBadConn),
		errors.Is(err, ch.ErrAcquireConnTimeout), errors.Is(err, ch.ErrConnectionClosed),
		errors.As(err, &network):
		return fault.As(fault.Transient, err)
	case errors.As(err, &op):
		return fault.As(fault.Unknown, err)
	}
	return fault.As(fault.Unknown, err)
}

// classifyServer goes by the server's error code; the names are ClickHouse's own.
func classifyServer(e *ch.Exception, err error) error {
	switch e.Code {
	case 6, // CANNOT_PARSE_TEXT
		27,  // CANNOT_PARSE_INPUT_ASSERTION_FAILED
		33,  // CANNOT_READ_ALL_DATA: the block's bytes end early
		38,  // CANNOT_PARSE_DATE
		41,  // CANNOT_PARSE_DATETIME
		53,  // TYPE_MISMATCH
		69,  // ARGUMENT_OUT_OF_BOUND
		70,  // CANNOT_CONVERT_TYPE
		72,  // CANNOT_PARSE_NUMBER
		117, // INCORRECT_DATA
		128, // TOO_LARGE_ARRAY_SIZE
		131, // TOO_LARGE_STRING_SIZE
		190, // SIZES_OF_ARRAYS_DONT_MATCH
		321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
		349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
		407, // DECIMAL_OVERFLOW
		469, // VIOLATED_CONSTRAINT
		691: // UNKNOWN_ELEMENT_OF_ENUM
		return fault.As(fault.Permanent, err)
	case 3, // UNEXPECTED_END_OF_FILE
		32,  // ATTEMPT_TO_READ_AFTER_EOF
		74,  // CANNOT_READ_FROM_FILE_DESCRIPTOR
		75,  // CANNOT_WRITE_TO_FILE_DESCRIPTOR
		76,  // CANNOT_OPEN_FILE
		101, // UNEXPECTED_PACKET_FROM_CLIENT: a connection that was cut in the middle
		159, // TIMEOUT_EXCEEDED
		201, // QUOTA_EXCEEDED
		202, // TOO_MANY_SIMULTANEOUS_QUERIES
		203, // NO_FREE_CONNECTION
		209, // SOCKET_TIMEOUT
		210, // NETWORK_ERROR
		218, // TABLE_IS_DROPPED
		225, // NO_ZOOKEEPER
		236, // ABORTED
		241, // MEMORY_LIMIT_EXCEEDED
		242, // TABLE_IS_READ_ONLY
		243, // NOT_ENOUGH_SPACE
		252, // TOO_MANY_PARTS: merges are behind
		279, // ALL_CONNECTION_TRIES_FAILED
		285, // TOO_FEW_LIVE_REPLICAS
		286, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
		319, // UNKNOWN_STATUS_OF_INSERT
		341, // UNFINISHED
		394, // QUERY_WAS_CANCELLED: by an operator, or by the lost connection
		425, // SYSTEM_ERROR
		473, // DEADLOCK_AVOIDED
		999: // KEEPER_EXCEPTION
		return fault.As(fault.Transient, err)
	case 16, // NO_SUCH_COLUMN_IN_TABLE
		47, // UNKNOWN_IDENTIFIER
		60, // UNKNOWN_TABLE
		81: // UNKNOWN_DATABASE
		// No event is the cause and an operator can repair it: the partition waits.
		return fault.As(
			fault.Transient,
			fmt.Errorf(
				"the tables are missing or older than this program, run `slipstream migrate`: %w",
				err,
			),
		)
	case 192,
		193, 194,
		516: // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED
		return fault.As(
			fault.Transient,
			fmt.Errorf("check CLICKHOUSE_USERNAME and CLICKHOUSE_PASSWORD: %w", err),
		)
	case 164, 497: // READONLY, ACCESS_DENIED
		return fault.As(
			fault.Transient,
			fmt.Errorf(
				"the user needs SELECT, INSERT, ALTER, CREATE and DROP on the database: %w", err,
			),
		)
	}
	return fault.As(fault.Unknown, err)
}
