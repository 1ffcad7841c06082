BEGIN TRANSACTION;
CREATE TABLE claim (
	id VARCHAR NOT NULL, 
	question VARCHAR NOT NULL, 
	annotator VARCHAR NOT NULL, 
	project VARCHAR NOT NULL, 
	until FLOAT NOT NULL, 
	state VARCHAR NOT NULL, 
	feedback VARCHAR, 
	PRIMARY KEY (id)
);
INSERT INTO "claim" VALUES('01a1fd00-2cfb-7280-b96c-6cd301960676','q0','ann','default',2.79524600958849573132e+09,'answered','f0');
INSERT INTO "claim" VALUES('01a1fd00-2d23-72cc-90ae-fc7c0713aeb0','q0','bob','default',2.79524600963299798975e+09,'live',NULL);
CREATE TABLE demonstration (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	prompt VARCHAR, 
	payload TEXT NOT NULL, 
	UNIQUE (id)
);
CREATE TABLE feedback (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	question VARCHAR, 
	annotator VARCHAR, 
	project VARCHAR, 
	replaces VARCHAR, 
	state VARCHAR NOT NULL, 
	payload TEXT NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "feedback" VALUES(1,'f0','q0','ann','default',NULL,'standing','{"id":"f0","question":"q0","annotator":"ann","answer":{"kind":"comparison","better":"sa","verdict":"better","strength":2,"criterion":""},"shown":["sa","sb"],"seconds":0.0,"note":"","replaces":null,"made":1.0}');
CREATE TABLE learned (
	version VARCHAR NOT NULL, 
	item VARCHAR NOT NULL, 
	PRIMARY KEY (version, item)
);
INSERT INTO "learned" VALUES('v0','b0');
CREATE TABLE meta (
	name VARCHAR NOT NULL, 
	value INTEGER NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema',1);
INSERT INTO "meta" VALUES('place',2);
CREATE TABLE passed (
	project VARCHAR NOT NULL, 
	annotator VARCHAR NOT NULL, 
	place INTEGER NOT NULL, 
	PRIMARY KEY (project, annotator)
);
INSERT INTO "passed" VALUES('default','ann',1);
INSERT INTO "passed" VALUES('default','bob',1);
CREATE TABLE preference (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	prompt VARCHAR, 
	"group" VARCHAR, 
	payload TEXT NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "preference" VALUES(1,'b0','p0','','{"id":"b0","prompt":"p0","chosen":"sa","rejected":"sb","probability":0.9,"weight":1.0,"margin":0.0,"criterion":"","group":"","feedback":["f0"]}');
CREATE TABLE prompt (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	split VARCHAR, 
	source VARCHAR, 
	payload TEXT NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "prompt" VALUES(1,'p0','train','','{"id":"p0","content":{"kind":"text","messages":[{"role":"user","content":"What is it?"}]},"split":"train","tags":[],"source":"","licence":""}');
CREATE TABLE question (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	project VARCHAR, 
	prompt VARCHAR, 
	payload TEXT NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "question" VALUES(1,'q0','default','p0','{"id":"q0","prompt":"p0","samples":["sa","sb"],"form":"comparison","criteria":[],"guideline":"","wanted":2,"gold":null,"project":"default","propensity":1.0,"arm":"random"}');
INSERT INTO "question" VALUES(2,'q1','default','p0','{"id":"q1","prompt":"p0","samples":["sb","sa"],"form":"comparison","criteria":[],"guideline":"","wanted":1,"gold":null,"project":"default","propensity":1.0,"arm":"random"}');
CREATE TABLE queue (
	question VARCHAR NOT NULL, 
	project VARCHAR NOT NULL, 
	place INTEGER NOT NULL, 
	wanted INTEGER NOT NULL, 
	answers INTEGER NOT NULL, 
	leases INTEGER NOT NULL, 
	open INTEGER NOT NULL, 
	PRIMARY KEY (question)
);
INSERT INTO "queue" VALUES('q0','default',1,2,1,1,0);
INSERT INTO "queue" VALUES('q1','default',2,1,0,0,1);
CREATE TABLE rests (
	belief VARCHAR NOT NULL, 
	feedback VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	PRIMARY KEY (belief, feedback)
);
INSERT INTO "rests" VALUES('b0','f0','preference');
CREATE TABLE sample (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	prompt VARCHAR, 
	version VARCHAR, 
	source VARCHAR, 
	payload TEXT NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "sample" VALUES(1,'sa','p0',NULL,'','{"id":"sa","prompt":"p0","content":{"kind":"text","messages":[{"role":"assistant","content":"a"}]},"finished":true,"version":null,"sampling":{},"source":""}');
INSERT INTO "sample" VALUES(2,'sb','p0',NULL,'','{"id":"sb","prompt":"p0","content":{"kind":"text","messages":[{"role":"assistant","content":"b"}]},"finished":true,"version":null,"sampling":{},"source":""}');
CREATE TABLE version (
	sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR NOT NULL, 
	name VARCHAR, 
	role VARCHAR, 
	parent VARCHAR, 
	payload TEXT NOT NULL, 
	UNIQUE (id)
);
INSERT INTO "version" VALUES(1,'v0','one','policy',NULL,'{"id":"v0","name":"one","role":"policy","parent":null,"method":"","config":{},"data":["b0"],"data_digest":"","weights":"","figures":{}}');
CREATE INDEX feedback_by_project ON feedback (project, sequence);
CREATE INDEX feedback_by_question_and_annotator ON feedback (question, annotator);
CREATE INDEX feedback_by_question ON feedback (question, sequence);
CREATE INDEX feedback_by_replaces ON feedback (replaces, sequence);
CREATE INDEX feedback_by_annotator ON feedback (annotator, sequence);
CREATE INDEX feedback_by_project_and_state ON feedback (project, state, sequence);
CREATE INDEX prompt_by_split ON prompt (split, sequence);
CREATE INDEX prompt_by_source ON prompt (source, sequence);
CREATE INDEX sample_by_source ON sample (source, sequence);
CREATE INDEX sample_by_version ON sample (version, sequence);
CREATE INDEX sample_by_prompt ON sample (prompt, sequence);
CREATE INDEX question_by_project ON question (project, sequence);
CREATE INDEX question_by_prompt ON question (prompt, sequence);
CREATE INDEX preference_by_group ON preference ("group", sequence);
CREATE INDEX preference_by_prompt ON preference (prompt, sequence);
CREATE INDEX demonstration_by_prompt ON demonstration (prompt, sequence);
CREATE INDEX version_by_name ON version (name, sequence);
CREATE INDEX version_by_parent ON version (parent, sequence);
CREATE INDEX version_by_role ON version (role, sequence);
CREATE INDEX rests_by_feedback ON rests (feedback);
CREATE INDEX learned_by_item ON learned (item);
CREATE INDEX queue_open ON queue (project, place) WHERE open > 0;
CREATE INDEX claim_live ON claim (until) WHERE state = 'live';
CREATE INDEX claim_by_question_and_annotator ON claim (question, annotator);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('prompt',1);
INSERT INTO "sqlite_sequence" VALUES('sample',2);
INSERT INTO "sqlite_sequence" VALUES('question',2);
INSERT INTO "sqlite_sequence" VALUES('feedback',1);
INSERT INTO "sqlite_sequence" VALUES('preference',1);
INSERT INTO "sqlite_sequence" VALUES('version',1);
COMMIT;
