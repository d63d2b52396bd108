// Package telemetry is how the process tells about itself: structured logs and Prometheus metrics.
//
// Metrics are plain methods that the program calls from the hooks of the other packages, so that
// none of them imports a metrics library.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// The formats of NewLogger.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// NewLogger returns a logger that writes to w. Level is debug, info, warn or error; format is
// FormatText or FormatJSON.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case FormatText:
		return slog.New(slog.NewTextHandler(w, o)), nil
	case FormatJSON:
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %q: use %s or %s", format, FormatText, FormatJSON)
}
