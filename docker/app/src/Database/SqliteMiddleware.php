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
     * synchronous: what was acknowledged is on the disk, also if the power fails. The journal mode is the
     * file's own, see CreateDatabaseCommand.
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

                return isset($params['path']) ? self::queued($connection, $params['path'].'-writers') : $connection;
            }

            /**
             * Writers queue up at a file lock. SQLite itself lets them sleep and try again, where one of
             * eight may have no luck for a second. A transaction takes the write lock when it begins:
             * one that asks for it after it has read may be refused at once ("database is locked").
             */
            private static function queued(Connection $connection, string $queue): Connection
            {
                return new class($connection, fopen($queue, 'c')) extends AbstractConnectionMiddleware {
                    /** @param resource $queue */
                    public function __construct(Connection $connection, private $queue)
                    {
                        parent::__construct($connection);
                    }

                    public function beginTransaction()
                    {
                        flock($this->queue, \LOCK_EX);

                        return $this->then('BEGIN IMMEDIATE', release: false);
                    }

                    public function commit()
                    {
                        return $this->then('COMMIT', release: true);
                    }

                    public function rollBack()
                    {
                        return $this->then('ROLLBACK', release: true);
                    }

                    private function then(string $statement, bool $release): bool
                    {
                        $done = false;
                        try {
                            $this->exec($statement);
                            $done = true;
                        } finally {
                            if ($release || !$done) {
                                flock($this->queue, \LOCK_UN);
                            }
                        }

                        return true;
                    }
                };
            }
        };
    }
}
