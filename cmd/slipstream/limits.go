package main

import (
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
