<?php

namespace App\Entity;

use Doctrine\Common\Collections\ArrayCollection;
use Doctrine\Common\Collections\Collection;
use Doctrine\ORM\Mapping as ORM;

#[ORM\Entity]
#[ORM\Table(name: 'symfony_demo_post')]
#[ORM\Index(columns: ['published_at'])]
class Post
{
    #[ORM\Id, ORM\GeneratedValue, ORM\Column]
    private ?int $id = null;

    #[ORM\Column(length: 255)]
    private string $title = '';

    #[ORM\Column(length: 255)]
    private string $summary = '';

    #[ORM\Column(type: 'text')]
    private string $content = '';

    /** @var Collection<int, Tag> */
    #[ORM\ManyToMany(targetEntity: Tag::class, cascade: ['persist'])]
    #[ORM\JoinTable(name: 'symfony_demo_post_tag')]
    private Collection $tags;

    public function __construct(
        #[ORM\ManyToOne(targetEntity: User::class), ORM\JoinColumn(nullable: false)] private User $author,
        /** Given once: the post's address does not change with its title. */
        #[ORM\Column(unique: true)] private string $slug,
        #[ORM\Column] private \DateTimeImmutable $publishedAt,
    ) {
        $this->tags = new ArrayCollection();
    }

    /** @param iterable<Tag> $tags */
    public function write(string $title, string $summary, string $content, iterable $tags): void
    {
        $this->title = $title;
        $this->summary = $summary;
        $this->content = str_replace("\r\n", "\n", $content); // as browsers send it
        $wanted = [...$tags];
        foreach ($this->tags as $tag) {
            if (!\in_array($tag, $wanted, true)) {
                $this->tags->removeElement($tag);
            }
        }
        foreach ($wanted as $tag) {
            if (!$this->tags->contains($tag)) {
                $this->tags->add($tag);
            }
        }
    }

    public function getId(): int
    {
        return $this->id;
    }

    public function getSlug(): string
    {
        return $this->slug;
    }

    public function getAuthor(): User
    {
        return $this->author;
    }

    public function getPublishedAt(): \DateTimeImmutable
    {
        return $this->publishedAt;
    }

    public function getTitle(): string
    {
        return $this->title;
    }

    public function getSummary(): string
    {
        return $this->summary;
    }

    public function getContent(): string
    {
        return $this->content;
    }

    /** @return list<string> */
    public function getTagNames(): array
    {
        return $this->tags->map(static fn (Tag $tag): string => $tag->getName())->getValues();
    }
}
