<?php

namespace App\Database;

use Doctrine\DBAL\Driver;
use Doctrine\DBAL\Driver\Connection;
use Doctrine\DBAL\Driver\Middleware;
use Doctrine\DBAL\Driver\Middleware\AbstractConnectionMiddleware;
use Doctrine\DBAL\Driver\Middleware\AbstractDriverMiddleware;

/** Sets up each connection to SQLite. Other databases, which DATABASE_URL may name, are left alone. */
final class SqliteMiddleware implements Middleware
{
    /**
     * synchronous: what was acknowledged is on the disk, also if the power fails.
     * journal_mode stays DELETE, SQLite's default: there is one file to look after, and between two
     * requests it is complete by itself.
     */
    private const PRAGMAS = 'PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;';

    public function wrap(Driver $driver): Driver
    {
        if (!$driver instanceof Driver\PDO\SQLite\Driver) {
            return $driver;
        }

        return new class($driver, self::PRAGMAS) extends AbstractDriverMiddleware {
            public function __construct(Driver $driver, private string $pragmas)
            {
                parent::__construct($driver);
            }

            public function connect(array $params): Connection
            {
                // A file that is missing is an error; it is not made.
                $params['driverOptions'][\PDO::SQLITE_ATTR_OPEN_FLAGS] = \PDO::SQLITE_OPEN_READWRITE;
                $connection = parent::connect($params);
                $connection->exec($this->pragmas);

                return self::immediate($connection);
            }

            /**
             * A transaction takes the write lock when it begins, where SQLite waits its turn. One that
             * asks for it after it has read may be refused at once ("database is locked").
             */
            private static function immediate(Connection $connection): Connection
            {
                return new class($connection) extends AbstractConnectionMiddleware {
                    public function beginTransaction()
                    {
                        $this->exec('BEGIN IMMEDIATE');

                        return true;
                    }

                    public function commit()
                    {
                        $this->exec('COMMIT');

                        return true;
                    }

                    public function rollBack()
                    {
                        $this->exec('ROLLBACK');

                        return true;
                    }
                };
            }
        };
    }
}
