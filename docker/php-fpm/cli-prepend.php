<?php
/*
 * Run before every PHP program in an instance that is started from a shell (auto_prepend_file).
 *
 * Such a program may write to the database. So it holds a shared lock for as long as it runs: the
 * hand-over waits for it. Once the database has moved, a program that comes too late is refused
 * here instead of writing to a file that nobody reads any more.
 */
(static function (): void {
    $state = getenv('GATE_STATE')
        ?: dirname(getenv('GATE_DATABASE') ?: '/app/data/database.sqlite').'/.gate';
    if (!is_file("$state/record.json")) {
        return; // no instance: an image is being built
    }
    $lock = fopen("$state/shell.lock", 'c');
    $deadline = microtime(true) + 30;
    while ($lock && !flock($lock, LOCK_SH | LOCK_NB)) {
        if (microtime(true) > $deadline) {
            fwrite(STDERR, "gate: the database is closed for longer than 30 s; try again later\n");
            exit(75);
        }
        usleep(10000);
    }
    // Only now: while it waited for the lock, the database may have moved.
    $record = json_decode((string) file_get_contents("$state/record.json"), true);
    if (!$lock || ($record['role'] ?? null) !== 'owner') {
        fwrite(STDERR, sprintf(
            "gate: this instance does not own the database (its role is %s)\n",
            $record['role'] ?? 'unknown',
        ));
        exit(75);
    }
    $GLOBALS['__gate_shell_lock'] = $lock; // held until the program ends
})();
