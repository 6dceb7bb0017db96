-- Installation ids are written once and read once. Compressing them costs more than everything else about the row:
-- 2,000 of them are 16 kB instead of 8, and storing them takes a seventh of the time.
ALTER TABLE batch ALTER installations SET STORAGE EXTERNAL;
ALTER TABLE delivery ALTER installations SET STORAGE EXTERNAL;

-- A dense batch holds nearly all installations of the app between its first and its last one: they are read as a range.
ALTER TABLE batch ADD dense boolean NOT NULL DEFAULT false;
