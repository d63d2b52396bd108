package processors

import (
	"fmt"
	"sync"
	"testing"

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
