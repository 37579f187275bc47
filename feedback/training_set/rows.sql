-- The rows of a training set, from the labels that train. Relations: labels. Parameters: $salt, $heldout, $tiers (the
-- strongest first), $factors (by tier, what weights are multiplied by; null where the tier does not train),
-- $untrained (by tier, why it does not, if it does not), $white_space (what is cut off a text's ends). To be filled in:
-- columns, the draft columns that sets have; classes and desirable; and the fates, by their names.
WITH final_rows AS (
    SELECT
        draft_id AS row_id, ticket_id, shown_date, shown_at, {columns}, label = {desirable} AS label, tier, rule,
        weight * list_extract($factors, list_position($tiers, tier)) AS weight,  -- null: the tier does not train
        redact_prompt(prompt) AS prompt, redact(trim(coalesce(completion, ''), $white_space)) AS completion,
        list_position($tiers, tier) AS strength  -- 1 is the strongest
    FROM labels
    WHERE state = 'final' AND label IN ({classes})
),
texts AS (
    SELECT *,
        coalesce(weight > 0, false) AND completion <> '' AS teaches,
        min(strength) FILTER (label AND weight > 0) OVER same AS desirable_strength,
        min(strength) FILTER (NOT label AND weight > 0) OVER same AS undesirable_strength
    FROM final_rows
    WINDOW same AS (PARTITION BY prompt, completion)
),
fates AS (
    SELECT *,
        CASE
            WHEN completion = '' THEN {blank}
            WHEN weight IS NULL THEN coalesce(list_extract($untrained, strength), {not_trained})
            WHEN weight <= 0 THEN {weightless}
            WHEN desirable_strength = undesirable_strength THEN {contradicted}
            WHEN label AND undesirable_strength < desirable_strength THEN {overruled}
            WHEN NOT label AND desirable_strength < undesirable_strength THEN {overruled}
            WHEN row_number() OVER (
                PARTITION BY prompt, completion, label, teaches ORDER BY strength, shown_at, row_id
            ) > 1
                THEN {duplicate}
            ELSE {kept}
        END AS fate
    FROM texts
)
SELECT
    prompt, completion, label, weight, tier, rule, {columns}, ticket_id, shown_date, row_id, fate,
    -- By ticket, so that no ticket is on both sides, and by a hash, so that a ticket never changes sides.
    split_of(ticket_id, $salt, $heldout) AS split
FROM fates
ORDER BY row_id
