package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/slipstream-rec/slipstream/fault"
)

// classify gives an error of the driver its class. An error that has one keeps it.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // fault.ClassOf knows these
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		if strings.Contains(err.Error(), "sql: database is closed") {
			return fault.As(
				fault.Canceled, err,
			) // the store is closed because we are stopping; database/sql exports no value for it
		}
		return err
	}
	switch e.Code() & 0xff { // extended codes keep the primary one in the low byte
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		// Another program writes into the file, longer than busy_timeout.
		return fault.As(fault.Transient, err)
	case lib.SQLITE_FULL,
		lib.SQLITE_IOERR, lib.SQLITE_CANTOPEN, lib.SQLITE_PROTOCOL, lib.SQLITE_NOMEM,
		lib.SQLITE_INTERRUPT,
		lib.SQLITE_SCHEMA:
		// The disk or the machine is failing, not the event. An operator has to free space or
		// repair it.
		return fault.As(fault.Transient, err)
	case lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_AUTH:
		return fault.As(
			fault.Transient, fmt.Errorf("%w (may this user write the file and its folder?)", err),
		)
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		// The file is damaged, and no event is the cause. Wait until an operator restores or
		// rebuilds it.
		return fault.As(
			fault.Transient,
			fmt.Errorf(
				"%w (the file is damaged or no SQLite file: restore it, or remove it and rebuild "+
					"from the log)",
				err,
			),
		)
	case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH, lib.SQLITE_RANGE:
		// The row itself is the cause.
		return fault.As(fault.Permanent, err)
	case lib.SQLITE_ERROR:
		if strings.Contains(err.Error(), "no such table") {
			return fault.As(
				fault.Transient,
				fmt.Errorf("%w (the file has no tables yet: run `slipstream migrate`)", err),
			)
		}
	}
	return err
}

// interrupted tells whether err may be the driver's way of saying that the context ended.
func interrupted(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_INTERRUPT
}
