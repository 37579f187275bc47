-- Frames of a training set. Relations: rows (its Parquet files, with split and class, the folder), counted (split, rows:
-- from the manifest). Macro: name_of. Parameters: $white_space, $personal (a pattern). To be filled in: desirable.

-- Frame rows
SELECT
    split,
    coalesce(name_of(tier), 'none') AS tier,
    name_of(rule) AS rule,
    coalesce(label = (class = '{desirable}'), false) AS in_its_class,
    coalesce(isfinite(weight) AND weight > 0, false) AS weight_positive,
    coalesce(len(prompt), 0) > 0 AND coalesce(trim(completion, $white_space), '') <> '' AS texts_there,
    coalesce(row_id, '') <> '' AND coalesce(ticket_id, '') <> '' AND coalesce(rule, '') <> '' AND shown_date IS NOT NULL
        AS traceable,
    NOT coalesce(regexp_matches(completion, $personal), false)
        AND len(list_filter(prompt, lambda turn: regexp_matches(turn.content, $personal))) = 0 AS redacted,
    count(*) AS rows
FROM rows
GROUP BY ALL
ORDER BY ALL;

-- Frame sets
WITH texts AS (SELECT split, row_id, hash(prompt, completion) AS text, length(completion) AS length FROM rows),
ids AS (SELECT row_id FROM texts GROUP BY row_id HAVING count(*) > 1),
same AS (SELECT text FROM texts GROUP BY text HAVING count(*) > 1),
by_split AS (
    SELECT split, count(*) AS held,
        count(*) FILTER (row_id IN (FROM ids)) AS repeated_ids,
        count(*) FILTER (text IN (FROM same)) AS repeated_texts,
        round(avg(CAST(length > 8000 AS INTEGER)), 3) AS long_share
    FROM texts GROUP BY split
)
SELECT split, coalesce(repeated_ids, 0) AS repeated_ids, coalesce(repeated_texts, 0) AS repeated_texts,
    abs(coalesce(held, 0) - counted.rows) AS off_the_manifest, long_share
FROM counted LEFT JOIN by_split USING (split)
ORDER BY split;
