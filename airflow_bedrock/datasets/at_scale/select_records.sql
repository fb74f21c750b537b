-- Select training records and write them to S3, without making a table (Athena engine version 3).
--
-- params.records   a query that finds the columns prompt and completion
-- params.fraction  of the questions, 0 to 1: records that ask the same come all or not at all, the same data gives the
--                  same sample, and a smaller one lies in a larger one
-- selected         where to write; Athena wants the folder to be empty
--
-- Only what is the same to the byte is written once. What else asks the same, and which answer is kept,
-- BedrockDatasetPreparationOperator counts and settles.
UNLOAD (
    SELECT DISTINCT
        prompt,
        completion
    FROM ({{ params.records }})
    WHERE trim(prompt) <> ''
        AND trim(completion) <> ''
        AND from_big_endian_64(xxhash64(to_utf8(
            trim(regexp_replace(lower(normalize(prompt, NFKC)), '\s+', ' '))
        ))) / pow(2, 64) + 0.5 < {{ params.fraction }}
)
TO '{{ selected }}'
WITH (format = 'JSON', compression = 'GZIP')
