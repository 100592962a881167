<?php

namespace App\Command;

use App\Database\Databases;
use App\Database\Fixtures;
use Doctrine\ORM\Tools\SchemaTool;
use Symfony\Component\Cache\Adapter\ArrayAdapter;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

#[AsCommand(name: 'app:database:create', description: 'Make a database with the first content.')]
final class CreateDatabaseCommand extends Command
{
    public function __construct(private Databases $databases)
    {
        parent::__construct();
    }

    protected function configure(): void
    {
        $this->addOption('path', null, InputOption::VALUE_REQUIRED, 'The file to make', 'data/database.sqlite');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $path = $input->getOption('path');
        if (!str_starts_with($path, '/')) {
            $path = getcwd().'/'.$path;
        }
        if (file_exists($path)) {
            $output->writeln("<error>$path is there already; it is left as it is.</error>");

            return Command::FAILURE;
        }
        if (!is_dir(\dirname($path))) {
            mkdir(\dirname($path), recursive: true);
        }
        // Whole or not at all.
        $part = $path.'.part';
        @unlink($part);
        $entities = $this->databases->connect("sqlite:///$part", new ArrayAdapter(storeSerialized: false));
        (new SchemaTool($entities))->createSchema($entities->getMetadataFactory()->getAllMetadata());
        Fixtures::load($entities);
        $entities->getConnection()->close();
        rename($part, $path);

        return Command::SUCCESS;
    }
}
