<?php

namespace App\Entity;

use Doctrine\ORM\Mapping as ORM;

#[ORM\Entity]
#[ORM\Table(name: 'symfony_demo_comment')]
class Comment
{
    #[ORM\Id, ORM\GeneratedValue, ORM\Column]
    private ?int $id = null;

    public function __construct(
        #[ORM\ManyToOne(targetEntity: Post::class), ORM\JoinColumn(nullable: false, onDelete: 'CASCADE')]
        private Post $post,
        #[ORM\ManyToOne(targetEntity: User::class), ORM\JoinColumn(nullable: false)]
        private User $author,
        #[ORM\Column(type: 'text')]
        private string $content,
        #[ORM\Column]
        private \DateTimeImmutable $publishedAt,
    ) {
    }

    public function getId(): int
    {
        return $this->id;
    }
}
