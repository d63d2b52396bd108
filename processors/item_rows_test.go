package processors

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/model"
)

// While an item leaves, its row may become that of another one.
func TestRowsAreThoseOfTheirItems(t *testing.T) {
	t.Parallel()
	f := NewItemFactors(goldenModel())
	ids := []string{"a", "", "b", "c"}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			f.mu.Lock()
			f.remove(ids[n%len(ids)])
			f.table.Intern(fmt.Sprint("other", n%8))
			f.remove(fmt.Sprint("other", (n+3)%8))
			f.mu.Unlock()
		}
	})
	for range 2000 {
		rows := f.rlockRows(ids)
		for i, id := range ids {
			if id == "" && rows[i] != model.None || id != "" && f.table.ID(rows[i]) != id {
				t.Errorf("the row of %q is that of another item", id)
			}
		}
		f.mu.RUnlock()
	}
	close(done)
	wg.Wait()
}

func TestRowsWithoutARecordAreForgotten(t *testing.T) {
	t.Parallel()
	f := NewItemFactors(goldenModel())
	units := f.Len()
	f.rlockRows([]string{"invented", "soon"})
	f.mu.RUnlock()
	require.NoError(t, f.ForgetUnpublished(t.Context()))
	require.Equal(t, units+2, f.Len(), "the record may be on its way")
	f.mu.Lock()
	f.touch("soon").version = 1
	f.table.SetFeatures(f.table.Intern("soon"), []string{"genre:Drama"})
	rows := f.table.Len() - units
	f.mu.Unlock()
	require.NoError(t, f.ForgetUnpublished(t.Context()))
	require.Equal(t, units+rows-1, f.Len())
	require.Equal(t, model.None, f.table.Lookup(model.KeyOf("invented")))
	require.NotEqual(t, model.None, f.table.Lookup(model.KeyOf("soon")))
}

var noonOfFormats = time.Unix(1_700_000_000, 0)

func TestTombstonesOfItemsAreRead(t *testing.T) {
	t.Parallel()
	f := NewItemFactors(goldenModel())
	f.table.Intern("i1")
	m := f.touch("i1")
	m.applied.set(source{0, 3}, at(17))
	m.version, m.seen = 4, 5
	f.leave("i1", noonOfFormats)
	value := f.appendRecord(nil, "i1")
	x, err := decodeFactors(value)
	require.NoError(t, err)
	require.Equal(t, &factorsMeta{
		version: 5, applied: applied{{source{0, 3}, at(17)}}, seen: 5,
		left: noonOfFormats.UnixMilli(),
	}, x.meta)

	// A program of the version before carries the sections on when it learns of the item.
	older := factorsMeta{version: x.meta.version + 1}
	require.NoError(t, older.readSections(x.sections))
	require.Zero(t, older.left, "it is there again")

	for _, body := range [][]byte{{}, {5}, {5, 0}} {
		require.ErrorIs(t, (&factorsMeta{version: 5}).readSections(model.Sections{
			{Tag: tagLeft, Body: body},
		}), model.ErrCorrupt)
	}
	require.ErrorIs(t, new(factorsMeta).readSections(model.Sections{{Tag: tagSeen}}),
		model.ErrCorrupt)
}
