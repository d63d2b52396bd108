// A user is one node. Every statement finds its nodes by the index of this constraint, which also
// makes concurrent MERGE statements safe.
CREATE CONSTRAINT user_id IF NOT EXISTS FOR (u:User) REQUIRE u.id IS UNIQUE;
