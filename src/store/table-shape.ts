import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';

/** What the commands that make another table like it have to know of a table. Names are quoted. */
export interface TableShape {
  /** Of pg_class. */
  readonly kind: string;
  readonly schema: string;
  readonly owner: string;
  /** Whether the role of this connection is its owner, or may act as it. */
  readonly isOurs: boolean;
  /** '' is that of the database. */
  readonly tablespace: string;
  /** Columns that can be written, as a list. */
  readonly columns: string;
  /** Storage parameters, as a list; null: none. */
  readonly parameters: string | null;
  /** What stands behind GRANT, with %s for the table. */
  readonly grants: readonly string[];
  /** Of a partitioned table: its key, and the number of its partitions. */
  readonly key: string | null;
  readonly partitions: number;
  /** How many rows it has, as Postgres estimates it. */
  readonly estimate: number;
}

const READ_SHAPE = `SELECT relkind AS kind, quote_ident(nspname) AS schema, quote_ident(pg_get_userbyid(relowner)) AS owner,
    pg_has_role(relowner, 'MEMBER') AS "isOurs",
    coalesce((SELECT spcname FROM pg_tablespace AS s WHERE s.oid = c.reltablespace), '') AS tablespace,
    (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') AS columns,
    (SELECT string_agg(parameter, ', ') FROM (
       SELECT unnest(c.reloptions) UNION ALL
       SELECT 'toast.' || unnest(reloptions) FROM pg_class AS t WHERE t.oid = c.reltoastrelid) AS p (parameter)
    ) AS parameters,
    ARRAY(SELECT format('%s ON %%s TO %s', privilege_type,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
        || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
      FROM aclexplode(relacl)) AS grants,
    CASE relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END AS key,
    (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid) AS partitions,
    greatest(reltuples, 0) AS estimate
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = to_regclass($1)`;

const READ_DEPENDENTS = `SELECT DISTINCT pg_describe_object(classid, objid, 0) AS name FROM pg_depend
  WHERE refclassid = 'pg_class'::regclass AND refobjid = to_regclass($1) AND (
    classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_publication_rel'::regclass, 'pg_proc'::regclass)
    OR classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint AS c WHERE c.oid = objid AND contype = 'f')
    OR classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger AS t WHERE t.oid = objid AND NOT tgisinternal))
  ORDER BY 1`;

const PAIR_INDEXES = `WITH named AS (
    SELECT indrelid, relname, row_number() OVER (PARTITION BY indrelid, def ORDER BY indexrelid) AS place, def
    FROM (
      SELECT indrelid, indexrelid, relname, indisunique || substring(pg_get_indexdef(indexrelid) FROM ' USING .*') AS def
      FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid WHERE indrelid IN (to_regclass($1), to_regclass($2))
    ) AS indexes
  )
  SELECT quote_ident(copy.relname) AS copy, quote_ident(old.relname) AS name
  FROM named AS copy JOIN named AS old USING (def, place)
  WHERE copy.indrelid = to_regclass($2) AND old.indrelid = to_regclass($1)`;

/** @returns undefined if there is no relation of that name */
export async function readShape(
  sequelize: Sequelize,
  table: string,
): Promise<TableShape | undefined> {
  const [shape] = await sequelize.query<TableShape>(READ_SHAPE, {
    type: QueryTypes.SELECT,
    bind: [table],
  });
  return shape;
}

/** What a table in the place of this one would not have: triggers, foreign keys, views, policies, publications, functions in SQL. */
export async function readDependents(sequelize: Sequelize, table: string): Promise<string[]> {
  const dependents = await sequelize.query<{ name: string }>(READ_DEPENDENTS, {
    type: QueryTypes.SELECT,
    bind: [table],
  });
  return dependents.map(({ name }) => name);
}

/** The indexes of a copy of a table, and what the same ones are named in the table. */
export function pairIndexes(
  sequelize: Sequelize,
  { table, copy }: { readonly table: string; readonly copy: string },
  transaction: Transaction,
): Promise<{ copy: string; name: string }[]> {
  return sequelize.query(PAIR_INDEXES, {
    type: QueryTypes.SELECT,
    bind: [table, copy],
    transaction,
  });
}

/** SQL of a text that is another one once the owner, rights, columns, indexes, constraints or triggers of a table are. */
export function fingerprintOf(table: string): string {
  return `(SELECT concat_ws(' ', relowner, relacl,
    (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, atthasdef), ',' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
    (SELECT string_agg(def, ',' ORDER BY def) FROM (
       SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid UNION ALL
       SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = c.oid UNION ALL
       SELECT concat(tgenabled, pg_get_triggerdef(oid)) FROM pg_trigger WHERE tgrelid = c.oid) AS defs (def)))
  FROM pg_class AS c WHERE oid = to_regclass('${table}'))`;
}
