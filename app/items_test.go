package app

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/processors"
)

func TestTheStartSaysHowManyItemsHaveNoEntry(t *testing.T) {
	t.Parallel()
	a := embeddedApp(t)
	var out bytes.Buffer
	a.log = slog.New(slog.NewTextHandler(&out, nil))
	a.countItems(processors.ItemCounts{Items: 7})
	require.Empty(t, out.String())
	a.countItems(processors.ItemCounts{Items: 7, WithoutEntry: 2})
	require.Contains(t, out.String(), "without_entry=2 items=7")
	require.Contains(t, out.String(), "recommend.catalog_only")
	out.Reset()
	a.countItems(processors.ItemCounts{Items: 7, WithoutEntry: 3})
	require.Empty(t, out.String(), "once")

	a.unlisted.Store(false)
	a.cfg.Recommend.CatalogOnly = true
	a.countItems(processors.ItemCounts{Items: 7, WithoutEntry: 2})
	require.Empty(t, out.String(), "they are not recommended")
}
