BEGIN TRANSACTION;
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice
    created REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    name TEXT NOT NULL,
    graph TEXT NOT NULL,
    workflow TEXT,  -- the graph as the canvas saves it
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    settings TEXT NOT NULL,
    saves INTEGER NOT NULL,  -- outputs that make a photo done
    likeness TEXT NOT NULL,  -- equal where the same photo gives the same output at the same place
    scans INTEGER NOT NULL DEFAULT 0,
    left_out TEXT  -- what the last scan could not read
);
INSERT INTO "job" VALUES(1,1000.0,'running',NULL,'old','{"1": {"class_type": "RestoreFlowJobPhoto", "inputs": {"group": 1}}, "2": {"class_type": "Restore", "inputs": {"model": ["3", 0], "image": ["1", 0], "steps": 5}}, "3": {"class_type": "Load", "inputs": {"weights": "x.safetensors"}}, "10": {"class_type": "RestoreFlowSaveRestoredPhoto", "inputs": {"image": ["2", 0], "photo": ["1", 2], "suffix": "_0"}}}',NULL,'/in','/out','{"retries": 2, "group": 1, "limit": null, "auto_resume": false, "saving": {}}',1,'48317fcdf6a34873c515e3f5cf1ee3b76364f0aa2235f988dd65827abc4b50af',1,NULL);
INSERT INTO "job" VALUES(2,1000.0,'running',NULL,'older','{"1": {"class_type": "RestoreFlowJobPhoto", "inputs": {"group": 1}}, "2": {"class_type": "Restore", "inputs": {"model": ["3", 0], "image": ["1", 0], "steps": 5}}, "3": {"class_type": "Load", "inputs": {"weights": "x.safetensors"}}, "10": {"class_type": "RestoreFlowSaveRestoredPhoto", "inputs": {"image": ["2", 0], "photo": ["1", 2], "suffix": "_0"}}}',NULL,'/in','/out','{"retries": 2, "group": 1, "limit": 3, "auto_resume": false, "saving": {"format": "PNG"}}',1,'106e71643673cf1d65f2a1947cab3a7f5330209c66e9bc4c68d16c9a7877440f',0,NULL);
CREATE TABLE measure (
    photo INTEGER NOT NULL REFERENCES photo (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value REAL,  -- not a number is NULL
    PRIMARY KEY (photo, name)
) WITHOUT ROWID;
INSERT INTO "measure" VALUES(1,'psnr',30.0);
CREATE TABLE output (
    photo INTEGER NOT NULL REFERENCES photo (id) ON DELETE CASCADE,
    node TEXT NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    before TEXT NOT NULL DEFAULT '',  -- the sha256 of all that was announced there earlier
    size INTEGER,
    mtime_ns INTEGER,
    state TEXT NOT NULL,  -- announced | done | old, of an attempt before the present one
    PRIMARY KEY (photo, node)
) WITHOUT ROWID;
INSERT INTO "output" VALUES(1,'10','Ä/IMG_0.png','0000000000000000000000000000000000000000000000000000000000000000','',NULL,NULL,'announced');
CREATE TABLE photo (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    place TEXT NOT NULL,  -- sorts as a person does, and is one to one with the path
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    width INTEGER,
    height INTEGER,
    sha256 TEXT,  -- of the content that was read last
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL DEFAULT 0,  -- shares no prompt any more
    seconds REAL,
    finished REAL,
    error TEXT,
    scan INTEGER NOT NULL,
    UNIQUE (job, place)
);
INSERT INTO "photo" VALUES(1,1,'Ä/IMG.heic','äÄimg.heicIMG.heic',1,1,NULL,NULL,NULL,'waiting',0,0,0,NULL,NULL,NULL,1);
INSERT INTO "photo" VALUES(2,1,'Ä/IMG.png','äÄimg.pngIMG.png',1,1,NULL,NULL,NULL,'waiting',0,0,0,NULL,NULL,NULL,1);
CREATE INDEX job_likeness ON job (likeness);
CREATE INDEX photo_state ON photo (job, state, attempts, place, size);
CREATE INDEX photo_finished ON photo (job, finished) WHERE finished IS NOT NULL;
CREATE INDEX output_path ON output (path);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('job',2);
INSERT INTO "sqlite_sequence" VALUES('photo',2);
COMMIT;
PRAGMA user_version = 1;
