//go:build linux

package torture

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	ch "github.com/ClickHouse/clickhouse-go/v2"
)

// clickHouse runs a statement of ClickHouse's own.
func (r *restore) clickHouse(ctx context.Context, statement string) error {
	db := ch.OpenDB(&ch.Options{
		Addr: []string{r.h.services.direct[engineClickHouse]},
		Auth: ch.Auth{Database: "default", Username: "default"},
	})
	defer db.Close()
	_, err := db.ExecContext(ctx, statement)
	return err
}

func (r *restore) clickHouseBackup() string {
	return fmt.Sprintf("File('%s')", filepath.Join(r.cfg.Backups, "slipstream"))
}

func (r *restore) backUpClickHouse(ctx context.Context) error {
	return r.clickHouse(ctx, "BACKUP DATABASE "+database+" TO "+r.clickHouseBackup())
}

func (r *restore) restoreClickHouse(ctx context.Context) error {
	return r.clickHouse(ctx, "RESTORE DATABASE "+database+" FROM "+r.clickHouseBackup())
}

// neo4jAdmin runs Neo4j's own neo4j-admin on the stopped server, from the jars that the services
// script has installed.
func (r *restore) neo4jAdmin(ctx context.Context, args ...string) error {
	const script = `set -euo pipefail
. "$1/neo4j/vars"
. "$1/lib/java.sh"
shift
export NEO4J_HOME=$data NEO4J_CONF=$data/conf
exec "$(java_home 17 21)/bin/java" -Xmx256m -XX:TieredStopAtLevel=1 -cp "$home/lib/*" \
  --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/java.io=ALL-UNNAMED \
  --add-opens=java.base/sun.nio.ch=ALL-UNNAMED org.neo4j.cli.AdminTool "$@"`
	s := r.h.services
	cmd := exec.CommandContext(ctx, "bash", append(
		[]string{"-c", script, "neo4j-admin", filepath.Dir(s.script)}, args...)...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("neo4j-admin %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (r *restore) dumpNeo4j(ctx context.Context) error {
	if err := r.h.services.verb(ctx, "stop", engineNeo4j); err != nil {
		return err
	}
	if err := r.neo4jAdmin(ctx, "database", "dump", "neo4j", "--to-path="+r.copies); err != nil {
		return err
	}
	return r.h.services.verb(ctx, "start", engineNeo4j)
}

// loadNeo4j starts a new server, which sets its password, and loads the dump into it.
func (r *restore) loadNeo4j(ctx context.Context) error {
	for _, verb := range []string{"up", "stop"} {
		if err := r.h.services.verb(ctx, verb, engineNeo4j); err != nil {
			return err
		}
	}
	if err := r.neo4jAdmin(
		ctx, "database", "load", "neo4j", "--from-path="+r.copies, "--overwrite-destination=true",
	); err != nil {
		return err
	}
	return r.h.services.verb(ctx, "start", engineNeo4j)
}

// folder is where an engine keeps its data.
func (r *restore) folder(engine string) string { return filepath.Join(r.h.dir, "engines", engine) }

// copyStopped stops an engine, copies its folder and starts it.
func (r *restore) copyStopped(ctx context.Context, engine string) error {
	if err := r.h.services.verb(ctx, "stop", engine); err != nil {
		return err
	}
	if engine == engineKafka {
		r.saved = r.h.ledger.acknowledgedNow()
	}
	if err := copyFolder(ctx, r.folder(engine), filepath.Join(r.copies, engine)); err != nil {
		return err
	}
	return r.h.services.verb(ctx, "start", engine)
}

// placed returns how a folder is put back and its engine started.
func (r *restore) placed(engine string) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := copyFolder(ctx, filepath.Join(r.copies, engine), r.folder(engine)); err != nil {
			return err
		}
		return r.h.services.verb(ctx, "start", engine)
	}
}

func copyFolder(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "-a", "--sparse=always", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}
