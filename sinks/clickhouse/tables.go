package clickhouse

// The names of the tables and views, in one place: a rebuild fills a second database of the same
// names, then Store.Exchange swaps the tables.
const (
	tableInteractions    = "interactions"
	tableItemHours       = "item_hour_sums"
	tableUserDays        = "user_day_sums"
	tableAudience        = "item_audience_sums"
	tableRecommendations = "recommendations"
	tableOutcomes        = "recommendation_sums"
	tableItems           = "item_versions"
	tableUsers           = "user_versions"
	tableDeadLetters     = "dead_letter_rows"
	tableProgress        = "progress_rows"
	tableMeta            = "meta"
	tableMigrations      = "schema_migrations"

	viewCompleteness = "completeness"
)

// StorageTables returns the tables that hold rows, sources before the sums made from them.
func StorageTables() []string {
	return []string{
		tableInteractions, tableItemHours, tableUserDays, tableAudience, tableRecommendations,
		tableOutcomes, tableItems, tableUsers, tableDeadLetters, tableProgress, tableMeta,
	}
}
