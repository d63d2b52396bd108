package neo4j

import "regexp"

// The statements, with the names of docs/guides/neo4j.md; named adds the configured prefix. No
// statement is put together from values: what varies is a parameter, so each has one plan in the
// server's cache.
//
// An edge is one relationship from the lower id to the higher, removed or not: a removal stays as a
// tombstone with its time.
const (
	// applyEdges writes each edge if it is newer than what is there. SET f.lock takes the
	// relationship's lock before the comparison reads it (and writes nothing the second time):
	// without it, of two transactions at the same edge the one that waited would decide by what it
	// had read before. SET f.at = f.at does not do: the server keeps the value that it read for it.
	applyEdges = `
UNWIND $edges AS e
MERGE (a:User {id: e.a})
MERGE (b:User {id: e.b})
MERGE (a)-[f:FRIEND]->(b)
  ON CREATE SET f.at = e.at, f.event_id = e.event_id, f.removed = e.removed,
    f.recorded_at = e.recorded_at
SET f.lock = 0
WITH f, e
WHERE f.at < e.at OR (f.at = e.at AND f.event_id < e.event_id)
SET f.at = e.at, f.event_id = e.event_id, f.removed = e.removed,
  f.recorded_at = e.recorded_at`

	friends = `
UNWIND $users AS user
MATCH (u:User {id: user})
CALL (u) {
  MATCH (u)-[f:FRIEND]-(v:User)
  WHERE NOT f.removed
  RETURN v.id AS friend ORDER BY friend LIMIT $limit
}
RETURN user, collect(friend) AS friends`

	// suggestFriends counts first and looks for names only for the few that are returned.
	suggestFriends = `
MATCH (u:User {id: $user})-[f:FRIEND]-(m:User)
WHERE NOT f.removed
MATCH (m)-[g:FRIEND]-(s:User)
WHERE NOT g.removed AND s <> u
WITH u, s, count(*) AS mutual
WHERE NOT EXISTS { MATCH (u)-[h:FRIEND]-(s) WHERE NOT h.removed }
WITH u, s, mutual, s.id AS user ORDER BY mutual DESC, user LIMIT $n
CALL (u, s) {
  MATCH (u)-[f:FRIEND]-(m:User)-[g:FRIEND]-(s)
  WHERE NOT f.removed AND NOT g.removed
  WITH m.id AS friend ORDER BY friend LIMIT $via
  RETURN collect(friend) AS via
}
RETURN user, mutual, via ORDER BY mutual DESC, user`

	// eraseFriends deletes edges by their times, then the node unless newer edges hold on to it.
	eraseFriends = `
UNWIND $users AS x
MATCH (u:User {id: x.id})
CALL (u, x) {
  MATCH (u)-[f:FRIEND]-()
  WHERE f.at <= x.at OR f.recorded_at <= x.at
  DELETE f
}
WITH DISTINCT u
WHERE NOT EXISTS { (u)--() }
DELETE u`

	// clearUsers reads every user, which is what it is for.
	clearUsers = `
MATCH (u:User)
CALL (u) { DETACH DELETE u } IN TRANSACTIONS OF 1000 ROWS`

	// eachEdge and countEdges read every relationship of the type, by the type's index.
	eachEdge = `
MATCH (a)-[f:FRIEND]->(b)
WHERE NOT f.removed
RETURN a.id AS a, b.id AS b, f.at AS at, f.event_id AS event_id, f.recorded_at AS recorded_at`

	countEdges = `
MATCH ()-[f:FRIEND]->()
WHERE NOT f.removed
RETURN count(f) AS edges`

	getMeta = `
MATCH (m:Meta {key: $key})
RETURN m.value AS value`

	setMeta = `
MERGE (m:Meta {key: $key})
SET m.value = $value`
)

var names = regexp.MustCompile(`(:|CONSTRAINT )(User|FRIEND|Meta|user_id|meta_key)\b`)

// named puts prefix before the labels, relationship types and constraints of a statement.
func named(statement, prefix string) string {
	if prefix == "" {
		return statement
	}
	return names.ReplaceAllString(statement, "${1}"+prefix+"${2}")
}
