<?php

namespace App\Command;

use App\Database\Databases;
use App\Database\Fixtures;
use Doctrine\ORM\Tools\SchemaTool;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Console\Style\SymfonyStyle;
use Symfony\Component\Filesystem\Filesystem;

#[AsCommand('app:database:create', 'Makes an SQLite database with the first content')]
final class CreateDatabaseCommand extends Command
{
    public function __construct(private Databases $databases, private Fixtures $fixtures)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this->addOption('path', null, InputOption::VALUE_REQUIRED, 'The file to make; it must not exist', 'data/database.sqlite');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $terminal = new SymfonyStyle($input, $output);
        $path = $input->getOption('path');
        if (file_exists($path)) {
            $terminal->error("$path exists. Nothing was changed. To begin anew, delete it, or name another file by --path.");

            return Command::FAILURE;
        }
        $files = new Filesystem();
        $files->mkdir(\dirname($path));
        // Beside its place: it gets its name when it is complete, and only if the name is still free.
        $draft = $files->tempnam(\dirname($path), 'database');
        try {
            $entities = $this->databases->open('sqlite:///'.realpath($draft));
            (new SchemaTool($entities))->createSchema($entities->getMetadataFactory()->getAllMetadata());
            $this->fixtures->write($entities);
            // Which the file keeps. Readers and the writer need not wait for each other then; with SQLite's
            // default, DELETE, one of eight waits for a second now and then.
            $entities->getConnection()->executeStatement('PRAGMA journal_mode = WAL');
            $entities->getConnection()->close();
            chmod($draft, 0o644 & ~umask());
            if (!@link($draft, $path)) {
                throw new \RuntimeException("$path cannot be made: ".(error_get_last()['message'] ?? ''));
            }
        } finally {
            $files->remove($draft);
        }
        $terminal->success("$path is there.");

        return Command::SUCCESS;
    }
}
