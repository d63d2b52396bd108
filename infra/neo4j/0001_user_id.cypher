// A user is one node. The constraint's index is how every statement finds its nodes, and what makes MERGE safe against itself.
CREATE CONSTRAINT user_id IF NOT EXISTS FOR (u:User) REQUIRE u.id IS UNIQUE;
