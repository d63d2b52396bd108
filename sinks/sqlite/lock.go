package sqlite

import "github.com/slipstream-rec/slipstream/fault"

func errInUse(path string) error {
	return fault.Transientf(
		"sqlite: %s is in use by another slipstream process: stop that one, or choose another "+
			"file or folder",
		path,
	)
}
