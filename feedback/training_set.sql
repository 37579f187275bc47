-- The rows of a training set, from the labels that train. Relations: labels. Parameters: $salt, $heldout, $tiers.
WITH final_rows AS (
    SELECT
        draft_id AS row_id, ticket_id, shown_date, shown_at, category, label = 'desirable' AS label, tier, rule, weight,
        redact_prompt(prompt) AS prompt, redact(trim(completion)) AS completion,
        list_position($tiers, tier) AS strength  -- 1 is the strongest
    FROM labels
    WHERE state = 'final' AND label IN ('desirable', 'undesirable') AND weight > 0
),
texts AS (
    SELECT *,
        min(strength) FILTER (label) OVER same AS desirable_strength,
        min(strength) FILTER (NOT label) OVER same AS undesirable_strength
    FROM final_rows
    WHERE completion IS NOT NULL AND completion <> ''
    WINDOW same AS (PARTITION BY prompt, completion)
),
fates AS (
    SELECT *,
        CASE
            WHEN desirable_strength = undesirable_strength THEN 'contradicted'
            WHEN label AND undesirable_strength < desirable_strength THEN 'overruled'
            WHEN NOT label AND desirable_strength < undesirable_strength THEN 'overruled'
            WHEN row_number() OVER (PARTITION BY prompt, completion, label ORDER BY strength, shown_at, row_id) > 1
                THEN 'duplicate'
            ELSE 'kept'
        END AS fate
    FROM texts
)
SELECT
    prompt, completion, label, weight, tier, rule, category, ticket_id, shown_date, row_id, fate,
    -- By ticket, so that no ticket is on both sides, and by a hash, so that a ticket never changes sides.
    CASE
        WHEN CAST('0x' || substr(sha256($salt || ':' || ticket_id), 1, 8) AS UBIGINT) < $heldout * 4294967296
        THEN 'heldout' ELSE 'train'
    END AS split
FROM fates
ORDER BY row_id
