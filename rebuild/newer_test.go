package rebuild

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/app"
	"github.com/slipstream-rec/slipstream/internal/apptest"
)

// TestRebuildGoesBackBehindANewerVersion: the embedded store refuses a file that a newer version
// has migrated and names the command, which fills one that it can use.
func TestRebuildGoesBackBehindANewerVersion(t *testing.T) {
	dir := t.TempDir()
	in, stop := apptest.StartEmbedded(t, dir, nil)
	cfg := in.Config()
	cfg.DataDir = dir
	fill(t, in)
	before := pictureOf(t, in)
	stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, app.StoreFile))
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(),
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = app.OpenEmbedded(t.Context(), dir)
	require.ErrorContains(t, err, "slipstream rebuild --store embedded --data "+dir)

	require.NoError(t, rebuilt(t.Context(), t, cfg, "embedded"))
	in, _ = apptest.StartEmbedded(t, dir, nil)
	require.Equal(t, before, pictureOf(t, in))
	more(t, in, "back")
}
