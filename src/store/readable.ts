/**
 * The caller's own rule and their entity's in a room `r`, as `own` and `entity`, whether they count or not. $1 is the
 * caller's userUUID, $2 their entityUUID, $3 their levelOnEntity. By LIMIT, so that each is looked up by its key,
 * whatever the planner thinks of how many there are.
 */
export const RULES_OF_CALLER = `LEFT JOIN LATERAL (
    SELECT permissions, accepted, since FROM room_permissions
    WHERE room_id = r.id AND "entity_UUID" = $1 LIMIT 1
  ) AS own ON true
  LEFT JOIN LATERAL (
    SELECT permissions, level, accepted, since FROM room_permissions
    WHERE room_id = r.id AND "entity_UUID" = $2 LIMIT 1
  ) AS entity ON true`;

/** The opposite of `isBanned` of access/permissions.ts, by RULES_OF_CALLER. */
export const NOT_BANNED = `coalesce(own.permissions NOT LIKE '%b%', true)`;

/** Whether the entity's rule counts for the caller, as `countingRules` of access/permissions.ts has it. */
export const ENTITY_COUNTS = `(r.type = 'group' AND $1::uuid <> $2::uuid AND coalesce(
      entity.level <= $3::float8 AND entity.permissions NOT LIKE '%b%', false))`;

/** Whether the own rule, or the entity's, lets the caller read; a ban aside. */
export const READS_BY_OWN = `coalesce(own.permissions LIKE '%r%', false)`;
export const READS_BY_ENTITY = `(${ENTITY_COUNTS} AND entity.permissions LIKE '%r%')`;

/**
 * `may` with 'r' of access/permissions.ts, by RULES_OF_CALLER: the rule is checked in the statement that reads the rows.
 * A test holds the two equal.
 */
export const MAY_READ = `(${NOT_BANNED} AND (${READS_BY_OWN} OR ${READS_BY_ENTITY}))`;

/** Seq of the entry since which the caller may read: that which added the rule, the smaller one of two rules. */
export const READS_SINCE = `least(CASE WHEN ${READS_BY_OWN} THEN own.since END,
      CASE WHEN ${READS_BY_ENTITY} THEN entity.since END)`;

/** Any of these for many callers at once: those in the columns user_uuid, entity_uuid and level of rows `asked`. */
export function ofAsked(sql: string): string {
  return sql
    .replaceAll('$1', 'asked.user_uuid')
    .replaceAll('$2', 'asked.entity_uuid')
    .replaceAll('$3', 'asked.level');
}
