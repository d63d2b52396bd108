package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/schemas"
)

func newRecommend() *cobra.Command {
	var (
		n       int
		genres  []string
		base    string
		key     string
		asJSON  bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use: "recommend USER", Short: "Show the recommendations of a user, with reasons",
		Example: "  slipstream recommend ann -n 5", Args: oneID,
	}
	s := addSettings(cmd, map[string]string{"http": "http.addr"}, nil)
	f := cmd.Flags()
	f.IntVarP(&n, "number", "n", 10, "how many items")
	f.StringSliceVar(&genres, "genre", nil, "only items with one of these genres")
	f.StringVar(&base, "url", "", "address of the API (default: http:// and --http)")
	f.StringVar(&key, "api-key", "", "API key with the role read, where keys are in use")
	f.BoolVar(&asJSON, "json", false, "as JSON")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		if base == "" {
			base = app.BaseURL(cfg.HTTP.Addr)
		}
		q := url.Values{"n": {strconv.Itoa(n)}}
		for _, g := range genres {
			q.Add("genre", g)
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		body, err := get(
			ctx, base+"/v1/users/"+url.PathEscape(args[0])+"/recommendations?"+q.Encode(), key,
		)
		if err != nil {
			return err
		}
		if asJSON {
			_, err := cmd.OutOrStdout().Write(body)
			return err
		}
		var list schemas.Recommendation
		if err := json.Unmarshal(body, &list); err != nil {
			return fmt.Errorf("read the answer of %s: %w", base, err)
		}
		return printList(cmd.OutOrStdout(), &list)
	}
	notNegative(cmd, "number", "timeout")
	return cmd
}

// get fetches a JSON answer.
func get(ctx context.Context, address, key string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf(
			"ask the API (is \"slipstream dev\" or \"slipstream run\" running? Another address: "+
				"--url): %w",
			err,
		)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the API answers %s: %s", res.Status, explain(body))
	}
	return body, nil
}

// explain returns the text of an answer that is an error: of a problem (RFC 9457) what is wrong.
func explain(body []byte) string {
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
			Value    any    `json:"value"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &problem) != nil || problem.Detail == "" {
		return strings.TrimSpace(string(body))
	}
	parts := []string{problem.Detail}
	for _, e := range problem.Errors {
		part := e.Message
		if e.Location != "" {
			part = fmt.Sprintf("%s (%s: %v)", e.Message, e.Location, e.Value)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

func printList(w io.Writer, list *schemas.Recommendation) error {
	fmt.Fprintf(
		w, "%s, variant %s, generated %s", list.Strategy, list.Variant,
		list.GeneratedAt.Format(time.RFC3339),
	)
	if len(list.Degraded) > 0 {
		fmt.Fprintf(w, ", degraded: without %v", list.Degraded)
	}
	fmt.Fprintln(w)
	for _, n := range list.Notes {
		fmt.Fprintf(w, "note: %s\n", n.Message)
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, x := range list.Items {
		fmt.Fprintf(tw, "%d\t%s\t%s\t%.2f\t%s\n", x.Rank, x.ItemID, x.Title, x.Score, x.Reason)
	}
	return tw.Flush()
}
