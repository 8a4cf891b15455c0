-- The tables of the application. A code that is none of ICD-10 is refused, with the
-- whole row in what the server says.
CREATE TABLE diagnoses (
    name text NOT NULL,
    old_code text NOT NULL,
    code text NOT NULL CHECK (code ~ '^[A-Z][0-9][0-9]')
);
INSERT INTO diagnoses VALUES ('Erika Muster', 'L40', 'C43');
