package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
)

// Listen opens the configured address.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	return Listen(ctx, s.cfg.Addr)
}

// Listen opens an address for a server, which may be made later.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf(
			"listen on %s (http.addr says where, --http changes it): %w", addr, err,
		)
	}
	return l, nil
}

// Serve answers requests from l until ctx ends. Then /readyz answers 503, running requests get
// ShutdownTimeout to finish, and the served lists are written to the log. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.cfg.ReadHeaderTimeout,
		ReadTimeout:       s.cfg.ReadTimeout,
		WriteTimeout:      s.cfg.ReadTimeout + s.cfg.RequestTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    64 << 10,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12},
		// These are errors of clients.
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWriting()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.served.run(writing, s.cfg.ShutdownTimeout)
	}()
	failed := make(chan error, 1)
	go func() {
		if s.cfg.CertFile != "" {
			failed <- srv.ServeTLS(l, s.cfg.CertFile, s.cfg.KeyFile)
		} else {
			failed <- srv.Serve(l)
		}
	}()

	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
		s.ready.stop()
		err = s.shutdown(context.WithoutCancel(ctx), srv)
		if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	stopWriting()
	<-written
	return err
}

func (s *Server) shutdown(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ShutdownTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn(
			"requests were aborted: they did not end within http.shutdown_timeout", "timeout",
			s.cfg.ShutdownTimeout,
		)
		return srv.Close()
	}
	return err
}
