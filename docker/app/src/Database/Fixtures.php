<?php

namespace App\Database;

use App\Entity\Comment;
use App\Entity\Post;
use App\Entity\Tag;
use App\Entity\User;
use Doctrine\ORM\EntityManagerInterface;

/** The first content: the same each time. */
final class Fixtures
{
    /** `kitten`, by bcrypt at cost 10. */
    private const PASSWORD = '$2y$10$KTLYYIeSDBS71CkcGSQkHO6jtdGHfBhxVaPAbMd3JZxyyeKzJ9Jh2';

    /** username => [full name, roles] */
    private const USERS = [
        'jane_admin' => ['Jane Doe', ['ROLE_USER', 'ROLE_ADMIN']],
        'tom_admin' => ['Tom Doe', ['ROLE_USER', 'ROLE_ADMIN']],
        'john_user' => ['John Doe', ['ROLE_USER']],
    ];

    public function __construct(private string $fixturesDir)
    {
    }

    public function write(EntityManagerInterface $entities): void
    {
        $users = [];
        foreach (self::USERS as $name => [$fullName, $roles]) {
            $entities->persist($users[] = new User($name, $fullName, "$name@example.org", self::PASSWORD, $roles));
        }
        $remarks = require $this->fixturesDir.'/comments.php';
        $time = new \DateTimeImmutable('2025-09-29 08:15:00 UTC');
        $tags = [];
        foreach (require $this->fixturesDir.'/posts.php' as $number => $fixture) {
            $post = new Post($users[$number % 2], $fixture['slug'], $time);
            $post->write($fixture['title'], $fixture['summary'], $fixture['content'], array_map(
                static function (string $name) use (&$tags): Tag {
                    return $tags[$name] ??= new Tag($name);
                },
                $fixture['tags'],
            ));
            $entities->persist($post);
            for ($index = 0; $index < ($number * 7 + 3) % 6; ++$index) {
                $said = $time->modify(sprintf('+%d minutes', 47 + 191 * $index + 13 * $number));
                $author = $users[($number + $index + 1) % 3];
                $entities->persist(new Comment($post, $author, $remarks[($number * 5 + $index) % \count($remarks)], $said));
            }
            $time = $time->modify('-4 days -83 minutes');
        }
        $entities->flush();
    }
}
