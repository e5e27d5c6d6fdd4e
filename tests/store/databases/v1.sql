-- The schema of revision 0001 (labgateway 0.1.0) with a few invented rows; made by Connection.iterdump.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	who TEXT NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	subject VARCHAR(64) NOT NULL, 
	because TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(1,1795335300123456,'Tran Thi B','release','observation 01KAHQ5ZK80000000001','tube checked');
CREATE TABLE delivery (
	id INTEGER NOT NULL, 
	destination VARCHAR(64) NOT NULL, 
	lane TEXT NOT NULL, 
	control_id VARCHAR(32) NOT NULL, 
	body BLOB NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	held_back INTEGER DEFAULT '0' NOT NULL, 
	attempts INTEGER DEFAULT '0' NOT NULL, 
	refusals INTEGER DEFAULT '0' NOT NULL, 
	answer TEXT DEFAULT '' NOT NULL, 
	created_at BIGINT NOT NULL, 
	settled_at BIGINT, 
	CONSTRAINT pk_delivery PRIMARY KEY (id), 
	CONSTRAINT uq_delivery_control_id UNIQUE (control_id)
);
INSERT INTO "delivery" VALUES(1,'emr','S1','01KAHQ5ZK80000000002',X'4D53487C5E7E5C267C4C4142474154455741590D','bf4a091a438196e16402c5e05197e3d2104e73d9e256c329b1847505e207afb0','waiting',0,0,0,'',1795335300123456,NULL);
CREATE TABLE delivery_observation (
	delivery_id INTEGER NOT NULL, 
	observation_id VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_delivery_observation PRIMARY KEY (delivery_id, observation_id), 
	CONSTRAINT fk_delivery_observation_delivery_id_delivery FOREIGN KEY(delivery_id) REFERENCES delivery (id), 
	CONSTRAINT fk_delivery_observation_observation_id_observation FOREIGN KEY(observation_id) REFERENCES observation (id)
)
 WITHOUT ROWID

;
INSERT INTO "delivery_observation" VALUES(1,'01KAHQ5ZK80000000001');
CREATE TABLE lab_order (
	id INTEGER NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	specimen TEXT NOT NULL, 
	placer TEXT NOT NULL, 
	filler TEXT DEFAULT '' NOT NULL, 
	code TEXT NOT NULL, 
	service TEXT DEFAULT '' NOT NULL, 
	patient_id TEXT, 
	pid3 TEXT DEFAULT '' NOT NULL, 
	pid5 TEXT DEFAULT '' NOT NULL, 
	birth_date TEXT, 
	sex TEXT, 
	patient_changed_at BIGINT, 
	ward TEXT DEFAULT '' NOT NULL, 
	patient_class TEXT DEFAULT '' NOT NULL, 
	specimen_type TEXT DEFAULT '' NOT NULL, 
	collected_at BIGINT, 
	collected_text TEXT DEFAULT '' NOT NULL, 
	priority VARCHAR(1) DEFAULT 'R' NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	received_at BIGINT NOT NULL, 
	changed_at BIGINT NOT NULL, 
	CONSTRAINT pk_lab_order PRIMARY KEY (id), 
	CONSTRAINT uq_lab_order_source_placer_code_specimen UNIQUE (source, placer, code, specimen)
);
INSERT INTO "lab_order" VALUES(1,'emr','S1','P1','','CBC','','000123','000123^^^TH^MR','NGUYEN^VAN A','19700102','M',NULL,'','','',NULL,'','R','open',1795335300123456,1795335300123456);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);
CREATE TABLE observation (
	id VARCHAR(32) NOT NULL, 
	result_id INTEGER NOT NULL, 
	transmission_id INTEGER NOT NULL, 
	instrument VARCHAR(64) NOT NULL, 
	specimen TEXT, 
	order_id INTEGER, 
	beside_id INTEGER, 
	place_patient TEXT, 
	code TEXT NOT NULL, 
	name TEXT DEFAULT '' NOT NULL, 
	loinc VARCHAR(16) DEFAULT '' NOT NULL, 
	moh VARCHAR(32) DEFAULT '' NOT NULL, 
	value TEXT, 
	unit TEXT DEFAULT '' NOT NULL, 
	original_value TEXT, 
	original_unit TEXT, 
	letter VARCHAR(1) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason VARCHAR(32), 
	detail TEXT DEFAULT '' NOT NULL, 
	mapping_version VARCHAR(64), 
	row_version INTEGER DEFAULT '1' NOT NULL, 
	replaces VARCHAR(32), 
	duplicate_of VARCHAR(32), 
	received_at BIGINT NOT NULL, 
	decided_at BIGINT NOT NULL, 
	decided_by TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_observation PRIMARY KEY (id), 
	CONSTRAINT fk_observation_beside_id_lab_order FOREIGN KEY(beside_id) REFERENCES lab_order (id), 
	CONSTRAINT fk_observation_order_id_lab_order FOREIGN KEY(order_id) REFERENCES lab_order (id), 
	CONSTRAINT fk_observation_result_id_result FOREIGN KEY(result_id) REFERENCES result (id), 
	CONSTRAINT fk_observation_transmission_id_transmission FOREIGN KEY(transmission_id) REFERENCES transmission (id)
);
INSERT INTO "observation" VALUES('01KAHQ5ZK80000000001',1,1,'xn1','S1',1,NULL,NULL,'WBC','','6690-2','','8.13','10*9/L',NULL,NULL,'F','released',NULL,'','m1',1,NULL,NULL,1795335300123456,1795335300123456,'');
CREATE TABLE order_message (
	id INTEGER NOT NULL, 
	source VARCHAR(64) NOT NULL, 
	peer VARCHAR(128) DEFAULT '' NOT NULL, 
	received_at BIGINT NOT NULL, 
	raw BLOB NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	code VARCHAR(2) NOT NULL, 
	answer BLOB NOT NULL, 
	CONSTRAINT pk_order_message PRIMARY KEY (id)
);
INSERT INTO "order_message" VALUES(1,'emr','127.0.0.1:1',1795335300123456,X'4D53487C5E7E5C267C454D520D','9ec7b5a331d66d5e5568368bc4bceafeaf6da58b9effc229119a8be3d003cb88','AA',X'4D53487C5E7E5C267C4C4142474154455741590D');
CREATE TABLE result (
	id INTEGER NOT NULL, 
	transmission_id INTEGER NOT NULL, 
	ordinal INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	specimen TEXT, 
	code TEXT NOT NULL, 
	value TEXT, 
	unit TEXT, 
	more TEXT NOT NULL, 
	CONSTRAINT pk_result PRIMARY KEY (id), 
	CONSTRAINT fk_result_transmission_id_transmission FOREIGN KEY(transmission_id) REFERENCES transmission (id)
);
INSERT INTO "result" VALUES(1,1,0,'patient','S1','WBC','8.13','10*3/uL','{"where":"R1","flags":["H"],"comments":["seen"]}');
CREATE TABLE transmission (
	id INTEGER NOT NULL, 
	instrument VARCHAR(64) NOT NULL, 
	protocol VARCHAR(16) NOT NULL, 
	peer VARCHAR(128) DEFAULT '' NOT NULL, 
	part_key VARCHAR(64), 
	received_at BIGINT NOT NULL, 
	raw BLOB NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason VARCHAR(32), 
	detail TEXT DEFAULT '' NOT NULL, 
	driver VARCHAR(64), 
	config_version VARCHAR(64), 
	mapping_version VARCHAR(64), 
	processed_at BIGINT, 
	CONSTRAINT pk_transmission PRIMARY KEY (id)
);
INSERT INTO "transmission" VALUES(1,'xn1','astm','10.20.0.31:4001',NULL,1795335300123456,X'0231487C5C5E260D0345350D0A','b831f8b18c6de322b9e33c6fd9fab1fef14588472e2deb23271111b41de7a4b9',13,'processed',NULL,'','sysmex_xn','c1','m1',1795335300123456);
INSERT INTO "transmission" VALUES(2,'xn1','astm','10.20.0.31:4001',NULL,1795335300123456,X'0231487C5C5E260D0345360D0A','7749020f85a148872efe409e1bad884dc0f4981f26810f7876bc5d4685747397',13,'stored',NULL,'',NULL,NULL,NULL,NULL);
CREATE INDEX ix_audit_subject ON audit (subject);
CREATE INDEX ix_delivery_unsettled ON delivery (destination, lane, id) WHERE state IN ('waiting', 'parked');
CREATE INDEX ix_delivery_state_destination_held_back_id ON delivery (state, destination, held_back, id);
CREATE INDEX ix_lab_order_patient_id ON lab_order (patient_id);
CREATE INDEX ix_lab_order_specimen ON lab_order (specimen);
CREATE INDEX ix_lab_order_state ON lab_order (state);
CREATE INDEX ix_order_message_source_sha256 ON order_message (source, sha256);
CREATE INDEX ix_transmission_part_key_state ON transmission (part_key, state) WHERE part_key IS NOT NULL;
CREATE INDEX ix_transmission_state_id ON transmission (state, id);
CREATE INDEX ix_result_transmission_id_ordinal ON result (transmission_id, ordinal);
CREATE INDEX ix_observation_open ON observation (state, received_at) WHERE state IN ('waiting', 'held');
CREATE INDEX ix_observation_specimen_received_at ON observation (specimen, received_at);
CREATE INDEX ix_observation_transmission_id ON observation (transmission_id);
CREATE INDEX ix_delivery_observation_observation_id ON delivery_observation (observation_id);
COMMIT;
