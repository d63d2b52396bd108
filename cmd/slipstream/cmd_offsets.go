package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
)

func newOffsets() *cobra.Command {
	var restore, store string
	cmd := &cobra.Command{
		Use:   "offsets [--restore FILE --store clickhouse|neo4j]",
		Short: "Keep where consumer groups stand beside a backup, and go back to it",
		Long: `Print where the groups of ClickHouse and Neo4j stand, as JSON: keep it beside a
backup of these stores. analytics and graph must be stopped, before and until the backup is done.

After a store was restored beside a log that has gone on since, --restore moves its groups back to
where they stood. When they start again, they read what the store lacks. Without that, what lies
between is missing for good.

Qdrant is not restored this way, but rebuilt: "slipstream rebuild --store qdrant".`,
		Example: "  slipstream offsets > offsets.json\n" +
			"  slipstream offsets --restore offsets.json --store clickhouse",
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd, kafkaFlags(), nil)
	f := cmd.Flags()
	f.StringVar(&restore, "restore", "", "a file with offsets to go back to")
	f.StringVar(&store, "store", "", "the store that was restored: clickhouse or neo4j")
	cmd.MarkFlagsRequiredTogether("restore", "store")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		var saved app.Offsets
		if restore != "" {
			b, err := os.ReadFile(restore)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(b, &saved); err != nil {
				return fmt.Errorf("read %s: %w", restore, err)
			}
		}
		k, err := app.OpenKafka(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer k.Close()
		if restore != "" {
			n, err := k.RestoreOffsets(cmd.Context(), saved, store)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(),
				"%d offsets are read again when the groups of %s start\n", n, store)
			return nil
		}
		if saved, err = k.Offsets(cmd.Context()); err != nil {
			return err
		}
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(saved)
	}
	return cmd
}
