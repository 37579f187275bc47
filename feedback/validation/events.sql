-- Frames of events. Relations: events (the checked days and the 28 before them; narrow columns only), known_ids
-- (event_id of every event in the lake), days (day: the checked ones). Macro: name_of. To be filled in: draft_kinds,
-- row_kinds, and complete: whether an event has all columns that its kind needs.

-- Frame rows
-- name_of runs after the count: there are few combinations and many events.
WITH combinations AS (
    SELECT arrival_date, kind, source,
        coalesce(event_id, '') <> '' AND coalesce(ticket_id, '') <> '' AS ids_given,
        coalesce(draft_id, '') <> '' OR kind NOT IN ({draft_kinds}) AS draft_named,
        {complete} AS complete,
        coalesce(score BETWEEN 0 AND 1, true) AS score_in_range,
        greatest(0, CAST(occurred_at AS DATE) - arrival_date) AS days_ahead,
        count(*) AS rows
    FROM events SEMI JOIN days ON arrival_date = day
    GROUP BY ALL
)
SELECT CAST(arrival_date AS VARCHAR) AS day, coalesce(name_of(kind), 'none') AS kind, name_of(source) AS source,
    * EXCLUDE (arrival_date, kind, source)
FROM combinations
ORDER BY ALL;

-- Frame days
-- By hash first: few ids share a hash, and only those need a comparison as text.
WITH of_days AS (SELECT event_id, arrival_date FROM events SEMI JOIN days ON arrival_date = day),
hashes AS (SELECT hash(event_id) AS h FROM of_days),
suspects AS (
    SELECT h FROM (SELECT hash(event_id) AS h FROM known_ids) SEMI JOIN hashes USING (h) GROUP BY h HAVING count(*) > 1
),
twice AS (
    SELECT event_id FROM known_ids WHERE hash(event_id) IN (FROM suspects) GROUP BY event_id HAVING count(*) > 1
),
repeated AS (SELECT arrival_date, count(*) AS n FROM of_days SEMI JOIN twice USING (event_id) GROUP BY arrival_date)
SELECT CAST(day AS VARCHAR) AS day, coalesce(n, 0) AS repeated
FROM days LEFT JOIN repeated ON arrival_date = day
ORDER BY day;

-- Frame signals
-- A kind's rate is per shown draft, so a quiet Sunday is no silence. A signal is checked if the day's drafts let one
-- expect 12 or more of it (the chance of none is then 1 in 160,000), and if it came on each of five or more such days
-- before; unless its whole source is silent, which another rule checks.
WITH counts AS (
    SELECT date, name_of(source) AS source, name_of(kind) AS kind, sum(n) AS n
    FROM (SELECT arrival_date AS date, source, kind, count(*) AS n FROM events GROUP BY ALL)
    GROUP BY ALL
),
drafts AS (
    SELECT date, sum(n) AS drafts FROM counts WHERE kind IN ({row_kinds}) GROUP BY date
),
signals AS (
    SELECT DISTINCT day, source, kind
    FROM days JOIN counts ON date BETWEEN day - 28 AND day - 1
    WHERE kind NOT IN ({row_kinds})
),
before AS (
    SELECT day, s.source, s.kind, d.drafts, coalesce(n, 0) AS n, sum(n) OVER signal / sum(d.drafts) OVER signal AS rate
    FROM signals AS s
    JOIN drafts AS d ON d.date BETWEEN day - 28 AND day - 1
    LEFT JOIN counts AS c ON c.date = d.date AND c.source = s.source AND c.kind = s.kind
    WINDOW signal AS (PARTITION BY day, s.source, s.kind)
),
rates AS (
    SELECT day, source, kind, any_value(rate) AS rate,
        count(*) FILTER (drafts * rate >= 12) AS busy, count(*) FILTER (drafts * rate >= 12 AND n = 0) AS silent
    FROM before GROUP BY ALL
),
today AS (
    SELECT r.*, coalesce(n, 0) AS events, coalesce(drafts, 0) * rate AS expected,
        (day, r.source) IN (SELECT (date, source) FROM counts) AS source_speaks
    FROM rates AS r
    LEFT JOIN drafts AS d ON d.date = day
    LEFT JOIN counts AS c ON c.date = day AND c.source = r.source AND c.kind = r.kind
)
SELECT CAST(day AS VARCHAR) AS day, source, kind, events, round(expected, 1) AS expected,
    CASE WHEN expected >= 12 AND busy >= 5 AND silent = 0 AND source_speaks THEN round(events / expected, 3) END
        AS share_of_expected
FROM today
ORDER BY ALL;

-- Frame sources
-- A source without gaps counts as silent on its first day without events; one with gaps (weekends), once it is silent
-- for two days longer than in any gap of the 28 days before; and a source of few events, once twelve are missing.
WITH counts AS (
    SELECT date, name_of(source) AS source, sum(n) AS n
    FROM (SELECT arrival_date AS date, source, count(*) AS n FROM events GROUP BY ALL)
    GROUP BY ALL
),
gaps AS (
    SELECT day, source, date, n, date - lag(date) OVER (PARTITION BY day, source ORDER BY date) - 1 AS gap
    FROM days JOIN counts ON date BETWEEN day - 28 AND day - 1
),
before AS (
    SELECT day, source, count(*) AS active_days, avg(n) AS usual, max(date) AS last_seen,
        coalesce(max(gap), 0) AS longest_before
    FROM gaps GROUP BY ALL
),
silences AS (
    SELECT b.*, CASE WHEN c.date IS NULL THEN day - last_seen ELSE 0 END AS days_silent
    FROM before AS b LEFT JOIN counts AS c ON c.source = b.source AND c.date = day
)
SELECT CAST(day AS VARCHAR) AS day, source, days_silent, longest_before,
    CASE
        WHEN active_days < 10 THEN NULL
        WHEN usual * (days_silent - longest_before) < 12 THEN 0
        ELSE greatest(0, days_silent - longest_before - CAST(longest_before > 0 AS INTEGER))
    END AS days_too_long
FROM silences
ORDER BY ALL;
