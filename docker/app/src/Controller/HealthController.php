<?php

namespace App\Controller;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\Exception;
use Psr\Log\LoggerInterface;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Attribute\AsController;
use Symfony\Component\Routing\Annotation\Route;

#[AsController]
final class HealthController
{
    #[Route('/healthz', name: 'health', methods: ['GET'])]
    public function __invoke(Connection $database, LoggerInterface $logger): Response
    {
        $plain = ['Content-Type' => 'text/plain; charset=utf-8'];
        try {
            // Of a table: SQLite opens its file only when something in it is asked for.
            $database->fetchOne('SELECT 1 FROM symfony_demo_user LIMIT 1');
        } catch (Exception $error) {
            $logger->error('The database cannot be read: {reason}', ['reason' => $error->getMessage()]);

            return new Response("the database cannot be read\n", Response::HTTP_SERVICE_UNAVAILABLE, $plain);
        }

        return new Response("ok\n", Response::HTTP_OK, $plain);
    }
}
