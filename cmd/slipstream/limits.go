package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// notNegative refuses a negative value, or one that is no number, of the flags before the command
// runs.
func notNegative(cmd *cobra.Command, flags ...string) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range flags {
			given := cmd.Flags().Lookup(name).Value.String()
			if strings.HasPrefix(given, "-") || given == "NaN" {
				return fmt.Errorf("--%s is %s: want 0 or more", name, given)
			}
		}
		return run(cmd, args)
	}
}

// oneID takes one argument, the id of something. An empty one, as of a variable of a shell that is
// not set, would find whatever has none.
func oneID(cmd *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(1)(cmd, args); err != nil {
		return err
	}
	if args[0] == "" {
		return errors.New("the id is empty")
	}
	return nil
}
