package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
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

// Serve answers requests from l until ctx ends. Then /readyz answers 503, and all else is answered
// as before for DrainDelay: whoever sends requests here learns first to send them elsewhere. After
// that running requests get ShutdownTimeout to finish, and the served lists are written to the log.
// It closes l. A server of NewStarting ends without delay and says to the end that the process is
// starting: another one takes its place.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.draining(s.handler),
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
		err = s.stop(context.WithoutCancel(ctx), srv, l.Addr(), failed)
	}
	stopWriting()
	<-written
	return err
}

// stop drains the server and shuts it down. failed tells when it has ended.
func (s *Server) stop(
	ctx context.Context,
	srv *http.Server,
	addr net.Addr,
	failed <-chan error,
) error {
	if !s.handsOver {
		s.ready.stop()
		delay := time.NewTimer(s.cfg.DrainDelay)
		defer delay.Stop()
		select {
		case err := <-failed:
			return fmt.Errorf("serve HTTP on %s: %w", addr, err)
		case <-delay.C:
		}
	}
	err := s.shutdown(ctx, srv)
	if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// draining asks clients to close their connections while the server stops. One that is idle is
// closed at the end of DrainDelay, and a request that is on its way at that moment fails. A server
// that hands over may end at any time.
func (s *Server) draining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.handsOver || s.ready.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
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
