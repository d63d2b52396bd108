package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newHealth() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the process that serves HTTP here whether it is ready",
		Long: "Ask the process that serves HTTP here (http.addr) whether it is ready, and fail " +
			"if it is not: the health check of a container, whose image has no shell.",
		Args: cobra.NoArgs,
	}
	s := addSettings(cmd, map[string]string{"http": "http.addr"}, nil)
	cmd.Flags().DurationVar(&timeout, "timeout", 4*time.Second, "how long to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, _, err := s.load(cmd)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		return askReady(ctx, cmd.OutOrStdout(), cfg.HTTP.Addr, cfg.HTTP.CertFile != "")
	}
	notNegative(cmd, "timeout")
	return cmd
}

// askReady prints the answer of /readyz at addr, and returns an error unless it is yes.
func askReady(ctx context.Context, out io.Writer, addr string, secure bool) error {
	code, body, err := readiness(ctx, addr, secure)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("not ready: %s", body)
	}
	_, err = out.Write(body)
	return err
}

// readiness returns the answer of /readyz at addr.
func readiness(
	ctx context.Context, addr string, secure bool,
) (code int, body []byte, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, nil, fmt.Errorf("http.addr: %w", err)
	}
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	transport := &http.Transport{DisableKeepAlives: true}
	if secure {
		url = "https" + url[len("http"):]
		// The certificate is for the name that callers use; this call does not leave the machine
		// and carries nothing.
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf(
			"nobody answers at %s (is it running there? --http says where): %w", url, err,
		)
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer of %s: %w", url, err)
	}
	return res.StatusCode, body, nil
}
